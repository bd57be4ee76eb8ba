package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// fakeSwarm is a network in memory: members that check every request as real
// ones do, and copy to one another at once.
type fakeSwarm struct {
	network *directory.Network
	dir     *directory.Directory
	bits    uint8

	wg sync.WaitGroup

	mu      sync.Mutex
	offset  time.Duration // of the clock
	members map[identity.NodeID]*fakeMember
	order   []identity.NodeID
	puts    int
	deletes int
	// hook, if set, may refuse a request before it is handled.
	hook func(node identity.NodeID, req mailbox.Request) error
	// withhold keeps a member from pushing.
	withhold map[identity.NodeID]bool
	// mute drops the reply to a request that was handled.
	mute func(node identity.NodeID, req mailbox.Request) bool
}

type fakeMember struct {
	id    identity.NodeID
	key   suite.SigningKey
	epoch uint64
	req   *mailbox.RequestKey
	down  bool
	boxes map[mailbox.Address]*fakeBox
	conns map[net.Conn]bool
}

type fakeBox struct {
	open  bool
	items []mailbox.Item
	seqs  []uint64
	next  uint64
	dead  map[mailbox.Digest]bool
	subs  map[*fakeSub]bool
}

type fakeSub struct{ wake chan struct{} }

func newFakeSwarm(t testing.TB, nodes int) *fakeSwarm {
	t.Helper()
	n, local, err := directory.Local(directory.LocalConfig{Nodes: nodes, Created: time.Now().Add(-time.Hour).Truncate(time.Second), Port: 1, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeSwarm{network: n, dir: dir, bits: 1, members: map[identity.NodeID]*fakeMember{}}
	for _, l := range local {
		m := &fakeMember{id: l.Node.ID, key: l.Identity, boxes: map[mailbox.Address]*fakeBox{}, conns: map[net.Conn]bool{}}
		s.members[m.id] = m
		s.order = append(s.order, m.id)
		s.rotate(m)
	}
	t.Cleanup(func() {
		for _, id := range s.order {
			s.setDown(id, true)
		}
		s.wg.Wait()
	})
	return s
}

func (s *fakeSwarm) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nowLocked()
}

func (s *fakeSwarm) nowLocked() time.Time { return time.Now().Add(s.offset) }

// advance moves everybody's clock and gives members new request keys.
func (s *fakeSwarm) advance(d time.Duration) {
	s.mu.Lock()
	s.offset += d
	s.mu.Unlock()
	for _, id := range s.order {
		s.rotate(s.members[id])
	}
}

func (s *fakeSwarm) rotate(m *fakeMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.epoch++
	now := s.nowLocked()
	k, err := mailbox.NewRequestKey(rand.Reader, m.key, m.epoch, now.Add(-time.Minute), now.Add(time.Hour))
	if err != nil {
		panic(err)
	}
	m.req = k
}

func (s *fakeSwarm) setDown(id identity.NodeID, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[id]
	m.down = down
	if down {
		for c := range m.conns {
			c.Close()
		}
	}
}

// stored counts envelopes at all members, once each.
func (s *fakeSwarm) stored(kind mailbox.Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[mailbox.Digest]bool{}
	for _, m := range s.members {
		for _, b := range m.boxes {
			for _, it := range b.items {
				if kindOfSize(len(it.Envelope)) == kind || kind == 0 {
					seen[it.Digest] = true
				}
			}
		}
	}
	return len(seen)
}

// kindOfSize is good enough for tests: only first contacts have 16 KiB here.
func kindOfSize(n int) mailbox.Kind {
	if n == mailbox.FirstClass {
		return mailbox.KindFrontDoor
	}
	return mailbox.KindConversation
}

// fakeNetwork is one client's way to a fakeSwarm.
type fakeNetwork struct {
	s *fakeSwarm

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
	used  map[circuit.Isolation]bool
}

func (s *fakeSwarm) connect(NetworkConfig) (Network, error) { return s.client(), nil }

func (s *fakeSwarm) client() *fakeNetwork {
	return &fakeNetwork{s: s, conns: map[net.Conn]bool{}, used: map[circuit.Isolation]bool{}}
}

func (n *fakeNetwork) Paths() []Path { return nil }

func (n *fakeNetwork) NewPath() {}

func (n *fakeNetwork) Close() error { n.cut(true); return nil }

// cut ends all streams, and with down refuses new ones.
func (n *fakeNetwork) cut(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for c := range n.conns {
		c.Close()
	}
	n.conns = map[net.Conn]bool{}
}

var errDown = errors.New("fake: node is down")

func (n *fakeNetwork) OpenStream(ctx context.Context, iso circuit.Isolation, _ []circuit.Isolation, node identity.NodeID) (io.ReadWriteCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, circuit.ErrNoCircuit
	}
	n.used[iso] = true
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	m := n.s.members[node]
	if m == nil || m.down {
		return nil, errDown
	}
	a, b := net.Pipe()
	n.conns[a] = true
	m.conns[b] = true
	n.s.wg.Add(1)
	go func() {
		defer n.s.wg.Done()
		n.s.serve(m, b)
		b.Close()
		n.s.mu.Lock()
		delete(m.conns, b)
		n.s.mu.Unlock()
	}()
	return a, nil
}

func (s *fakeSwarm) serve(m *fakeMember, conn net.Conn) {
	for {
		frame, err := wire.ReadFrame(conn, mailbox.MaxFrame)
		if err != nil {
			return
		}
		kind, err := mailbox.FrameType(frame)
		if err != nil {
			return
		}
		s.mu.Lock()
		key := m.req
		s.mu.Unlock()
		if kind == mailbox.FrameKeys {
			if wire.WriteFrame(conn, mailbox.KeysReply(key.Cert())) != nil {
				return
			}
			continue
		}
		got, sealer, err := key.OpenRequest(frame)
		if err != nil {
			_ = wire.WriteFrame(conn, mailbox.KeysReply(key.Cert()))
			continue
		}
		if sub, ok := got.Request.(*mailbox.Subscribe); ok {
			s.subscribe(m, conn, got, sub, sealer)
			return
		}
		resp, err := s.handle(m, got)
		if err != nil {
			resp = mailbox.Refuse(err)
		}
		s.mu.Lock()
		mute := s.mute != nil && s.mute(m.id, got.Request)
		s.mu.Unlock()
		if mute {
			return
		}
		if !reply(conn, sealer, resp) {
			return
		}
	}
}

func reply(conn net.Conn, sealer *mailbox.ReplySealer, resp mailbox.Response) bool {
	b, err := sealer.Seal(resp)
	return err == nil && wire.WriteFrame(conn, b) == nil
}

func (s *fakeSwarm) terms(got *mailbox.Received) mailbox.Terms {
	return mailbox.Terms{
		Now: s.nowLocked(), Stamp: got.Stamp, MinBits: s.bits,
		Member: func(id identity.NodeID, a mailbox.Address) bool { return s.dir.InSwarmOf(id, a) },
	}
}

func (s *fakeSwarm) handle(m *fakeMember, got *mailbox.Received) (mailbox.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hook != nil {
		if err := s.hook(m.id, got.Request); err != nil {
			return nil, err
		}
	}
	if err := mailbox.Authorize(got.Request, s.terms(got)); err != nil {
		return nil, err
	}
	switch r := got.Request.(type) {
	case *mailbox.Quote:
		return &mailbox.QuoteReply{Quote: mailbox.NewWorkQuote(m.key, s.bits, s.nowLocked())}, nil
	case *mailbox.Open:
		until := uint64(s.nowLocked().Unix()) + uint64(r.Days)*86400
		for _, x := range s.swarmLocked(r.Address()) {
			x.box(r.Address()).open = true
		}
		return &mailbox.Opened{Until: until, Bytes: r.Bytes}, nil
	case *mailbox.Put:
		return s.putLocked(m, r)
	case *mailbox.Fetch:
		return s.fetchLocked(m, r)
	case *mailbox.Delete:
		s.deletes++
		for _, x := range s.swarmLocked(r.Address()) {
			x.box(r.Address()).remove(r.Digests)
		}
		return &mailbox.Deleted{}, nil
	}
	return nil, mailbox.ErrFormat
}

// swarmLocked returns the members of an address that are up.
func (s *fakeSwarm) swarmLocked(a mailbox.Address) (out []*fakeMember) {
	for _, n := range s.dir.SwarmOf(a) {
		if m := s.members[n.ID]; !m.down {
			out = append(out, m)
		}
	}
	return out
}

func (m *fakeMember) box(a mailbox.Address) *fakeBox {
	b := m.boxes[a]
	if b == nil {
		b = &fakeBox{dead: map[mailbox.Digest]bool{}, subs: map[*fakeSub]bool{}, next: 1}
		m.boxes[a] = b
	}
	return b
}

func (b *fakeBox) remove(digests []mailbox.Digest) {
	for _, d := range digests {
		b.dead[d] = true
		for i, it := range b.items {
			if it.Digest == d {
				b.items = append(b.items[:i:i], b.items[i+1:]...)
				b.seqs = append(b.seqs[:i:i], b.seqs[i+1:]...)
				break
			}
		}
	}
}

func (b *fakeBox) add(it mailbox.Item) {
	for _, x := range b.items {
		if x.Digest == it.Digest {
			return
		}
	}
	b.items = append(b.items, it)
	b.seqs = append(b.seqs, b.next)
	b.next++
	for sub := range b.subs {
		select {
		case sub.wake <- struct{}{}:
		default:
		}
	}
}

func (s *fakeSwarm) putLocked(m *fakeMember, r *mailbox.Put) (mailbox.Response, error) {
	a := r.Address()
	if !m.box(a).open {
		return nil, mailbox.ErrNotOpen
	}
	d := mailbox.EnvelopeDigest(a, r.Envelope)
	if m.box(a).dead[d] {
		return nil, mailbox.ErrDeleted
	}
	up := s.swarmLocked(a)
	if len(up) < majority(len(s.dir.SwarmOf(a))) {
		return nil, mailbox.ErrUnavailable
	}
	s.puts++
	out := &mailbox.Stored{}
	for _, x := range up {
		x.box(a).open = true
		x.box(a).add(mailbox.Item{Digest: d, Expiry: r.Expiry, Envelope: r.Envelope})
		var batch mailbox.ReceiptBatch
		batch.Add(a, d, r.Expiry)
		rs, err := batch.Sign(rand.Reader, x.key, s.nowLocked())
		if err != nil {
			return nil, err
		}
		out.Receipts = append(out.Receipts, rs...)
	}
	return out, nil
}

func (s *fakeSwarm) fetchLocked(m *fakeMember, r *mailbox.Fetch) (mailbox.Response, error) {
	b := m.box(r.Address())
	if !b.open {
		return nil, mailbox.ErrNotOpen
	}
	from := uint64(0)
	if r.Cursor.Node == m.id {
		from = r.Cursor.Seq
	}
	out := &mailbox.Batch{Next: mailbox.Cursor{Node: m.id, Seq: from}}
	for i, seq := range b.seqs {
		if seq <= from {
			continue
		}
		if len(out.Items) == int(r.Limit) {
			out.More = true
			break
		}
		out.Items = append(out.Items, b.items[i])
		out.Next.Seq = seq
	}
	return out, nil
}

func (s *fakeSwarm) subscribe(m *fakeMember, conn net.Conn, got *mailbox.Received, sub *mailbox.Subscribe, sealer *mailbox.ReplySealer) {
	s.mu.Lock()
	terms := s.terms(got)
	err := mailbox.Authorize(sub, terms)
	if err == nil && !m.box(sub.Address()).open {
		err = mailbox.ErrNotOpen
	}
	if err == nil && s.hook != nil {
		err = s.hook(m.id, sub)
	}
	s.mu.Unlock()
	if err != nil {
		reply(conn, sealer, mailbox.Refuse(err))
		return
	}
	challenge := &mailbox.Challenge{Nonce: [mailbox.ChallengeSize]byte{1, 2, 3}}
	if !reply(conn, sealer, challenge) {
		return
	}
	frame, err := wire.ReadFrame(conn, mailbox.MaxFrame)
	if err != nil {
		return
	}
	prove, err := sealer.OpenNext(frame)
	if err == nil {
		terms.Subscribe, terms.Challenge = sub, challenge
		err = mailbox.Authorize(prove, terms)
	}
	if err != nil {
		reply(conn, sealer, mailbox.Refuse(err))
		return
	}
	if reply(conn, sealer, &mailbox.Subscribed{}) {
		s.push(m, conn, sub, sealer)
	}
}

// push sends what is there and what comes, until the stream ends.
func (s *fakeSwarm) push(m *fakeMember, conn net.Conn, sub *mailbox.Subscribe, sealer *mailbox.ReplySealer) {
	me := &fakeSub{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	b := m.box(sub.Address())
	b.subs[me] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(b.subs, me)
		s.mu.Unlock()
	}()
	closed := make(chan struct{})
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer close(closed)
		_, _ = conn.Read(make([]byte, 1))
	}()
	from := uint64(0)
	if sub.Cursor.Node == m.id {
		from = sub.Cursor.Seq
	}
	for {
		s.mu.Lock()
		var out []*mailbox.Pushed
		for i, seq := range b.seqs {
			if seq > from && !s.withhold[m.id] {
				out = append(out, &mailbox.Pushed{Item: b.items[i], Cursor: mailbox.Cursor{Node: m.id, Seq: seq}})
				from = seq
			}
		}
		s.mu.Unlock()
		for _, p := range out {
			if !reply(conn, sealer, p) {
				return
			}
		}
		select {
		case <-me.wake:
		case <-closed:
			return
		}
	}
}
