package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/mailbox"
	"sotto/internal/node"
	"sotto/internal/suite"
	"sotto/internal/swarm"
	"sotto/internal/testnet"
	"sotto/internal/wire"
)

// errAnswer is a member's answer to something else, or one that does not hold.
var errAnswer = errors.New("chaos: a member's answer is not one to the question")

// exits speak to members as the last relay of a circuit does. They have the
// identities of two nodes, so that each member has another one to hear from.
type exits struct {
	dir *directory.Live
	one [2]*link.Endpoint
	ids [2]identity.NodeID
}

func newExits(l *testnet.Layout) (*exits, error) {
	dir, err := l.Network.Directory()
	if err != nil {
		return nil, err
	}
	x := &exits{dir: directory.NewLive(dir, time.Now)}
	for i := range x.one {
		keys, err := node.ReadKeys(l.Nodes[i].Dir)
		if err != nil {
			return nil, errors.Join(err, x.Close())
		}
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, errors.Join(err, x.Close())
		}
		x.ids[i] = keys.ID()
		if x.one[i], err = link.NewEndpoint(conn, link.Config{Identity: keys.Identity, Directory: x.dir}); err != nil {
			return nil, errors.Join(err, x.Close())
		}
	}
	return x, nil
}

// Close ends all connections.
func (x *exits) Close() error {
	var errs []error
	for _, e := range x.one {
		if e != nil {
			errs = append(errs, e.Close())
		}
	}
	return errors.Join(errs...)
}

// OpenStream implements swarm.PeerDialer.
func (x *exits) OpenStream(ctx context.Context, id identity.NodeID) (io.ReadWriteCloser, error) {
	n, ok := directory.Listed(x.dir, id)
	if !ok {
		return nil, directory.ErrUnknownNode
	}
	from := x.one[0]
	if id == x.ids[0] {
		from = x.one[1]
	}
	conn, err := from.DialService(ctx, n)
	if err != nil {
		return nil, err
	}
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// member is a stream of sealed requests to one member. It is for one goroutine.
type member struct {
	x    *exits
	id   identity.NodeID
	rwc  io.ReadWriteCloser // nil: none stands
	cert *mailbox.RequestKeyCert
}

// ask sends a request, signed by sign if that is not nil, and returns the answer.
// After an error the next question goes over another stream; a refusal is a
// *mailbox.Failure.
func (m *member) ask(ctx context.Context, req mailbox.Request, sign func(mailbox.Stamp)) (mailbox.Response, error) {
	if m.rwc == nil {
		if err := m.dial(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := m.exchange(ctx, req, sign)
	if err != nil {
		m.close()
		return nil, fmt.Errorf("chaos: %T: %w", req, err)
	}
	if f, ok := resp.(*mailbox.Failure); ok {
		return nil, f
	}
	return resp, nil
}

func (m *member) dial(ctx context.Context) error {
	rwc, err := swarm.OpenClientStream(ctx, m.x, m.id)
	if err != nil {
		return err
	}
	m.rwc = rwc
	frame, err := m.call(ctx, mailbox.KeysRequest())
	if err == nil {
		m.cert, err = mailbox.ParseKeysReply(frame)
	}
	if err != nil {
		m.close()
	}
	// Its time is not looked at: the member's clock may be wrong on purpose.
	return err
}

func (m *member) exchange(ctx context.Context, req mailbox.Request, sign func(mailbox.Stamp)) (mailbox.Response, error) {
	stamp, err := mailbox.NewStamp(rand.Reader, m.id, time.Now())
	if err != nil {
		return nil, err
	}
	if sign != nil {
		sign(stamp)
	}
	frame, opener, err := mailbox.SealStamped(m.cert, stamp, req)
	if err != nil {
		return nil, err
	}
	reply, err := m.call(ctx, frame)
	if err != nil {
		return nil, err
	}
	return opener.Open(reply)
}

func (m *member) call(ctx context.Context, frame []byte) ([]byte, error) {
	defer context.AfterFunc(ctx, m.rwc.(*link.ServiceStream).Abort)()
	if err := wire.WriteFrame(m.rwc, frame); err != nil {
		return nil, err
	}
	return wire.ReadFrame(m.rwc, mailbox.MaxFrame)
}

func (m *member) close() {
	if m.rwc != nil {
		_ = m.rwc.Close()
		m.rwc = nil
	}
}

// box is a mailbox of a conversation, with the keys of both its ends.
type box struct {
	mailbox.Locator
	owner  suite.Signer
	shared suite.SigningKey // zero if somebody else writes
}

const (
	boxBytes     = 4 << 20 // what the least work pays for
	boxDays      = 18
	envelopeSize = 4096
	envelopeLife = 13 * 24 * time.Hour // less than the longest by more than clocks are wrong
	fetchLimit   = 256
)

// newBox makes a mailbox that a swarm keeps now.
func (x *exits) newBox(swarm directory.SwarmID) (*box, error) {
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
		if x.dir.Current().SwarmIDOf(b.Address()) == swarm {
			return b, nil
		}
	}
}

// open opens a mailbox, for work.
func (m *member) open(ctx context.Context, b *box) error {
	resp, err := m.ask(ctx, &mailbox.Quote{}, nil)
	if err != nil {
		return err
	}
	quote, ok := resp.(*mailbox.QuoteReply)
	if !ok {
		return errAnswer
	}
	work, err := mailbox.SolveWork(func() bool { return ctx.Err() != nil }, mailbox.OpenPurpose(b.Address(), boxBytes, boxDays), quote.Quote)
	if err != nil {
		return err
	}
	resp, err = m.ask(ctx, &mailbox.Open{Locator: b.Locator, Bytes: boxBytes, Days: boxDays, Work: work}, nil)
	if _, ok := resp.(*mailbox.Opened); err == nil && !ok {
		return errAnswer
	}
	return err
}

// put leaves an envelope. Without an error a majority's receipts were checked as
// a client checks them; errAnswer says that it was acknowledged without them.
func (m *member) put(ctx context.Context, b *box, envelope []byte, expiry uint64) error {
	p := &mailbox.Put{Locator: b.Locator, Expiry: expiry, Envelope: envelope}
	p.Sign(b.shared, nil)
	resp, err := m.ask(ctx, p, nil)
	if err != nil {
		return err
	}
	stored, ok := resp.(*mailbox.Stored)
	if !ok {
		return errAnswer
	}
	digest := mailbox.EnvelopeDigest(b.Address(), envelope)
	signers := make(map[identity.NodeID]bool)
	for i := range stored.Receipts {
		r := &stored.Receipts[i]
		if r.Confirms(b.Address(), digest, expiry) == nil {
			signers[r.Node] = true
		}
	}
	if !m.x.majority(b, signers) {
		return errAnswer
	}
	return nil
}

// majority reports whether most keepers of a mailbox have signed, of the present
// ones or of those of a past directory, by which a member may yet go.
func (x *exits) majority(b *box, signers map[identity.NodeID]bool) bool {
	for _, d := range append(x.dir.Past(), x.dir.Current()) {
		keepers, signed := d.SwarmOf(b.Address()), 0
		for _, n := range keepers {
			if signers[n.ID] {
				signed++
			}
		}
		if signed > len(keepers)/2 {
			return true
		}
	}
	return false
}

// keepers are who keeps a mailbox now.
func (x *exits) keepers(b *box) []directory.Node { return x.dir.Current().SwarmOf(b.Address()) }

// swarm is the n-th of all swarms there are now, over and over.
func (x *exits) swarm(n int) directory.SwarmID {
	all := x.dir.Current().Swarms()
	return all[n%len(all)]
}

// delete takes envelopes out as the owner.
func (m *member) delete(ctx context.Context, b *box, digests []mailbox.Digest, expiry uint64) error {
	d := &mailbox.Delete{Locator: b.Locator, Expiry: expiry, Digests: digests}
	d.Sign(b.owner, nil)
	resp, err := m.ask(ctx, d, nil)
	if _, ok := resp.(*mailbox.Deleted); err == nil && !ok {
		return errAnswer
	}
	return err
}

// read returns what a member holds of a mailbox, from its start.
func (m *member) read(ctx context.Context, b *box) (map[mailbox.Digest]int, error) {
	held := make(map[mailbox.Digest]int)
	for at := (mailbox.Cursor{}); ; {
		f := &mailbox.Fetch{Locator: b.Locator, Cursor: at, Limit: fetchLimit}
		resp, err := m.ask(ctx, f, func(s mailbox.Stamp) { f.Sign(b.owner, nil, s) })
		if err != nil {
			return nil, err
		}
		page, ok := resp.(*mailbox.Batch)
		if !ok {
			return nil, errAnswer
		}
		for _, it := range page.Items {
			held[it.Digest]++
		}
		if at = page.Next; !page.More {
			return held, nil
		}
	}
}
