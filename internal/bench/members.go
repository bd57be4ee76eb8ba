package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/mailbox"
	"sotto/internal/node"
	"sotto/internal/suite"
	"sotto/internal/swarm"
	"sotto/internal/wire"
)

// The swarm that is measured. The network has a second one, of which a single
// node is played: the exit that brings the requests.
const (
	swarmSize = 5
	swarms    = 2
)

// members is a swarm of whole nodes on loopback, and an exit.
type members struct {
	dir   *directory.Directory
	swarm directory.SwarmID
	ids   []identity.NodeID
	nodes []*node.Node
	dirs  []string         // the nodes' folders
	conns []net.PacketConn // the nodes' sockets
	exit  *link.Endpoint
}

// startMembers starts the nodes of a swarm, with their folders under dir.
func startMembers(dir string) (*members, error) {
	m := new(members)
	if err := m.start(dir); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *members) start(dir string) error {
	l, err := layOut(swarmSize * swarms)
	if err != nil {
		return err
	}
	defer l.close()
	m.dir, m.swarm = l.dir, l.nodes[0].Node.Swarm
	for i, n := range l.nodes {
		switch {
		case n.Node.Swarm == m.swarm:
			err = m.startNode(filepath.Join(dir, fmt.Sprintf("node-%d", i+1)), n, l.signed, l.take(i))
		case m.exit == nil:
			m.exit, err = l.exit(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// layout is a local network with a socket for each node, of which none runs yet.
type layout struct {
	network *directory.Network
	signed  []byte
	dir     *directory.Directory
	nodes   []directory.LocalNode
	conns   []net.PacketConn // nil: somebody took it
}

func layOut(nodes int) (_ *layout, err error) {
	l := new(layout)
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var port int
	if l.conns, port, err = listenLoopback(nodes); err != nil {
		return nil, err
	}
	l.network, l.nodes, err = directory.Local(directory.LocalConfig{
		Nodes: nodes, Swarm: swarmSize, Port: uint16(port), Created: time.Now(), Rand: rand.Reader,
	})
	if err != nil {
		return nil, err
	}
	if l.dir, err = l.network.Directory(); err != nil {
		return nil, err
	}
	l.signed, err = l.network.Encode()
	return l, err
}

// take gives away a node's socket.
func (l *layout) take(i int) net.PacketConn {
	pc := l.conns[i]
	l.conns[i] = nil
	return pc
}

// exit plays a node that is nothing but an exit.
func (l *layout) exit(i int) (*link.Endpoint, error) {
	e, err := link.NewEndpoint(l.conns[i], link.Config{Identity: l.nodes[i].Identity, Directory: directory.Fixed(l.dir)})
	if err == nil {
		l.take(i)
	}
	return e, err
}

// close closes the sockets that nobody took.
func (l *layout) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

func (m *members) startNode(dir string, l directory.LocalNode, network []byte, pc net.PacketConn) error {
	if err := node.WriteDir(dir, node.Keys{Identity: l.Identity, Onion: l.Onion}, network); err != nil {
		return errors.Join(err, pc.Close())
	}
	n, err := node.Start(node.Config{Dir: dir, PacketConn: pc})
	if err != nil {
		return err
	}
	m.nodes, m.conns = append(m.nodes, n), append(m.conns, pc)
	m.ids, m.dirs = append(m.ids, l.Node.ID), append(m.dirs, dir)
	return nil
}

// Close stops the nodes and waits for them.
func (m *members) Close() error {
	var errs []error
	if m.exit != nil {
		errs = append(errs, m.exit.Close())
	}
	for _, n := range m.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

// OpenStream makes the exit a dialer of the members.
func (m *members) OpenStream(ctx context.Context, id identity.NodeID) (io.ReadWriteCloser, error) {
	n, ok := m.dir.Node(id)
	if !ok {
		return nil, directory.ErrUnknownNode
	}
	conn, err := m.exit.DialService(ctx, n)
	if err != nil {
		return nil, err
	}
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// requester is a client's stream of sealed requests to one member.
type requester struct {
	m    *members
	node identity.NodeID
	rwc  io.ReadWriteCloser
	cert *mailbox.RequestKeyCert
	stop func() bool
}

// dial opens a stream to member i, and learns its request key. The end of ctx
// ends the stream.
func (m *members) dial(ctx context.Context, i int) (*requester, error) {
	id := m.ids[i%len(m.ids)]
	rwc, err := swarm.OpenClientStream(ctx, m, id)
	if err != nil {
		return nil, err
	}
	r := &requester{m: m, node: id, rwc: rwc}
	r.stop = context.AfterFunc(ctx, func() { rwc.(*link.ServiceStream).Abort() })
	reply, err := r.call(mailbox.KeysRequest())
	if err == nil {
		r.cert, err = mailbox.ParseKeysReply(reply)
	}
	if err == nil {
		err = r.cert.Verify(id, time.Now())
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// dialMany opens n streams to member i.
func (m *members) dialMany(ctx context.Context, i, n int) ([]*requester, error) {
	all := make([]*requester, 0, n)
	for range n {
		r, err := m.dial(ctx, i)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func closeAll(all []*requester) {
	for _, r := range all {
		r.close()
	}
}

func (r *requester) close() {
	r.stop()
	_ = r.rwc.Close()
}

func (r *requester) call(frame []byte) ([]byte, error) {
	if err := wire.WriteFrame(r.rwc, frame); err != nil {
		return nil, err
	}
	return r.read()
}

func (r *requester) read() ([]byte, error) { return wire.ReadFrame(r.rwc, mailbox.MaxFrame) }

// do sends a request, signed by sign if that is not nil, and returns the answer.
func (r *requester) do(req mailbox.Request, sign func(mailbox.Stamp)) (mailbox.Response, error) {
	_, resp, err := r.start(req, sign)
	return resp, err
}

// start is do, for a request whose context goes on.
func (r *requester) start(req mailbox.Request, sign func(mailbox.Stamp)) (*mailbox.ReplyOpener, mailbox.Response, error) {
	stamp, err := mailbox.NewStamp(rand.Reader, r.node, time.Now())
	if err != nil {
		return nil, nil, err
	}
	if sign != nil {
		sign(stamp)
	}
	frame, opener, err := mailbox.SealStamped(r.cert, stamp, req)
	if err != nil {
		return nil, nil, err
	}
	reply, err := r.call(frame)
	if err != nil {
		return nil, nil, fmt.Errorf("bench: %T: %w", req, err)
	}
	resp, err := opened(opener.Open(reply))
	if err != nil {
		return nil, nil, fmt.Errorf("bench: %T: %w", req, err)
	}
	return opener, resp, nil
}

// opened makes an error of a refusal.
func opened(resp mailbox.Response, err error) (mailbox.Response, error) {
	if f, ok := resp.(*mailbox.Failure); ok && err == nil {
		return nil, f
	}
	return resp, err
}

// box is a mailbox of a conversation, with the keys of both its ends.
type box struct {
	mailbox.Locator
	owner, shared suite.SigningKey
}

// newBox makes a mailbox that the swarm keeps.
func (m *members) newBox() (*box, error) {
	for {
		owner, err := suite.NewSigningKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		shared, err := suite.NewSigningKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		b := &box{owner: owner, shared: shared, Locator: mailbox.Locator{
			Kind: mailbox.KindConversation, Period: uint64(identity.PeriodAt(time.Now())),
			Owner: owner.Public(), Shared: shared.Public(),
		}}
		if m.dir.SwarmIDOf(b.Address()) == m.swarm {
			return b, nil
		}
	}
}

// openBoxes makes n mailboxes of size bytes and opens them on a stream.
func (m *members) openBoxes(r *requester, n int, size uint32) ([]*box, error) {
	boxes := make([]*box, n)
	for i := range boxes {
		b, err := m.newBox()
		if err != nil {
			return nil, err
		}
		if err := r.open(b, size); err != nil {
			return nil, err
		}
		boxes[i] = b
	}
	return boxes, nil
}

// open opens a mailbox of size bytes, for work.
func (r *requester) open(b *box, size uint32) error {
	resp, err := r.do(&mailbox.Quote{}, nil)
	if err != nil {
		return err
	}
	quote, ok := resp.(*mailbox.QuoteReply)
	if !ok {
		return errAnswer
	}
	work, err := mailbox.SolveWork(nil, mailbox.OpenPurpose(b.Address(), size, boxDays), quote.Quote)
	if err != nil {
		return err
	}
	_, err = r.do(&mailbox.Open{Locator: b.Locator, Bytes: size, Days: boxDays, Work: work}, nil)
	return err
}

// fetch reads a page of a mailbox.
func (r *requester) fetch(b *box, from mailbox.Cursor) (*mailbox.Batch, error) {
	f := &mailbox.Fetch{Locator: b.Locator, Cursor: from, Limit: fetchLimit}
	resp, err := r.do(f, func(s mailbox.Stamp) { f.Sign(b.owner, nil, s) })
	if err != nil {
		return nil, err
	}
	batch, ok := resp.(*mailbox.Batch)
	if !ok {
		return nil, errAnswer
	}
	return batch, nil
}

// subscribe goes through challenge and proof; pushes come by next.
func (r *requester) subscribe(b *box) (*mailbox.ReplyOpener, error) {
	req := &mailbox.Subscribe{Locator: b.Locator}
	opener, resp, err := r.start(req, nil)
	if err != nil {
		return nil, err
	}
	challenge, ok := resp.(*mailbox.Challenge)
	if !ok {
		return nil, errAnswer
	}
	frame, err := opener.SealNext(req.Prove(b.owner, nil, r.node, challenge))
	if err != nil {
		return nil, err
	}
	reply, err := r.call(frame)
	if err != nil {
		return nil, err
	}
	_, err = opened(opener.Open(reply))
	return opener, err
}
