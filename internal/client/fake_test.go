package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/padding"
	"sotto/internal/suite"
)

// fakeSwarm is a network in memory: members that check every request as real
// ones do, and copy to one another at once.
type fakeSwarm struct {
	network *directory.Network
	dir     *directory.Directory
	key     suite.SigningKey // the network's
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
	// busy, if set, says for how many seconds a member wants to be left alone
	// instead of looking at a request, and whether it says so in a sealed reply.
	busy func(node identity.NodeID, req mailbox.Request) (seconds uint32, sealed bool)
	// answer, if set, is what members send to who asks for a directory.
	answer func() []byte
	// withhold keeps a member from pushing.
	withhold map[identity.NodeID]bool
	// mute drops the reply to a request that was handled.
	mute func(node identity.NodeID, req mailbox.Request) bool
	// stall, if set, may hold a request up until the channel is closed.
	stall func(node identity.NodeID, req mailbox.Request) <-chan struct{}
	// alone makes a member say that it deleted, and delete nothing.
	alone map[identity.NodeID]bool
	// marking makes members give each stream that asks a request key of its
	// own; marks is which mailboxes they then saw under which key.
	marking bool
	marks   map[*mailbox.RequestKey]map[mailbox.Address]bool
}

func newFakeSwarm(t testing.TB, nodes int) *fakeSwarm {
	t.Helper()
	key, err := suite.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, local, err := directory.Local(directory.LocalConfig{Nodes: nodes, Key: key, Created: time.Now().Add(-time.Hour).Truncate(time.Second), Port: 1, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeSwarm{network: n, dir: dir, key: key, bits: 1, members: map[identity.NodeID]*fakeMember{}, marks: map[*mailbox.RequestKey]map[mailbox.Address]bool{}}
	for _, l := range local {
		s.add(l)
	}
	t.Cleanup(func() {
		for _, id := range s.order {
			s.setDown(id, true)
		}
		s.wg.Wait()
	})
	return s
}

func (s *fakeSwarm) add(l directory.LocalNode) {
	m := &fakeMember{id: l.Node.ID, key: l.Identity, boxes: map[mailbox.Address]*fakeBox{}, conns: map[net.Conn]bool{}}
	s.mu.Lock()
	s.members[m.id] = m
	s.order = append(s.order, m.id)
	s.mu.Unlock()
	s.rotate(m)
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
	s.rotateLocked(m)
}

func (s *fakeSwarm) rotateLocked(m *fakeMember) {
	m.epoch++
	now := s.nowLocked()
	k, err := mailbox.NewRequestKey(rand.Reader, m.key, m.epoch, now.Add(-time.Minute), now.Add(time.Hour))
	if err != nil {
		panic(err)
	}
	m.req = k
	m.all = append(m.all, k)
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

// subscriptions counts what is read of all mailboxes.
func (s *fakeSwarm) subscriptions() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		for _, b := range m.boxes {
			n += len(b.subs)
		}
	}
	return n
}

// reading counts the subscriptions to mailboxes that writer writes to, written
// the envelopes in them.
func (s *fakeSwarm) reading(writer *person) int {
	return s.count(writer, func(b *fakeBox) int { return len(b.subs) })
}

func (s *fakeSwarm) written(writer *person) int {
	return s.count(writer, func(b *fakeBox) int { return len(b.items) })
}

func (s *fakeSwarm) count(writer *person, f func(*fakeBox) int) (n int) {
	now := s.now()
	for _, ch := range writer.allChannels() {
		box, err := ch.box(ch.period(now, true), true)
		if err != nil {
			continue
		}
		s.mu.Lock()
		for _, m := range s.members {
			if b := m.boxes[box.Locator.Address()]; b != nil {
				n += f(b)
			}
		}
		s.mu.Unlock()
	}
	return n
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
	asked []asked // every stream that was opened
	live  map[*fakeStream]bool
	all   []*fakeStream
	old   chan struct{} // closed when the circuits retire

	level   padding.Level
	chatted int

	// fuse, if set, gives a stream after how many steps it is cut; nil: never.
	fuse func(asked) *fuse
}

// fuse counts the steps of a stream: each write, and each read of something.
type fuse struct{ left atomic.Int64 }

var errCut = errors.New("fake: circuit died")

// asked is one stream as it was asked for.
type asked struct {
	iso   circuit.Isolation
	avoid []circuit.Isolation
	node  identity.NodeID
	at    time.Time
}

// fakeStream is a stream over a circuit that can retire.
type fakeStream struct {
	net.Conn
	n        *fakeNetwork
	retiring chan struct{}

	wrote, read atomic.Int64 // bytes
	fuse        *fuse
}

func (s *fakeStream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.wrote.Add(int64(n))
	return s.step(n, err)
}

func (s *fakeStream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.read.Add(int64(n))
	return s.step(n, err)
}

// step cuts the stream when its fuse has burnt down: what was just written has
// arrived, and what was read is in the client's hands.
func (s *fakeStream) step(n int, err error) (int, error) {
	if err == nil && s.fuse != nil && s.fuse.left.Add(-1) == 0 {
		err = errors.Join(errCut, s.Close())
	}
	return n, err
}

func (s *fakeStream) Close() error {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	delete(s.n.live, s)
	return s.Conn.Close()
}

func (s *fakeStream) Retiring() <-chan struct{} { return s.retiring }

// retire makes the circuits of all streams retire; others get new ones.
func (n *fakeNetwork) retire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.old)
	n.old = make(chan struct{})
}

// retired counts the streams on circuits that have retired.
func (n *fakeNetwork) retired() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.live {
		if s.retiring != n.old {
			count++
		}
	}
	return count
}

// opened returns the streams that were asked for with a purpose.
func (n *fakeNetwork) opened(purpose circuit.Purpose) (out []asked) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asked {
		if a.iso.Purpose == purpose {
			out = append(out, a)
		}
	}
	return out
}

func (s *fakeSwarm) client() *fakeNetwork {
	return &fakeNetwork{s: s, conns: map[net.Conn]bool{}, used: map[circuit.Isolation]bool{}, live: map[*fakeStream]bool{}, old: make(chan struct{})}
}

func (n *fakeNetwork) Paths() []Path { return nil }

func (n *fakeNetwork) NewPath() {}

func (n *fakeNetwork) SetCover(l padding.Level) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.level = l
}

func (n *fakeNetwork) Chatting() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.chatted++
}

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

func (n *fakeNetwork) OpenStream(ctx context.Context, iso circuit.Isolation, avoid []circuit.Isolation, node identity.NodeID) (Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, circuit.ErrNoCircuit
	}
	n.used[iso] = true
	n.asked = append(n.asked, asked{iso, avoid, node, time.Now()})
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
	stream := &fakeStream{Conn: a, n: n, retiring: n.old}
	if n.fuse != nil {
		stream.fuse = n.fuse(n.asked[len(n.asked)-1])
	}
	n.live[stream] = true
	n.all = append(n.all, stream)
	return stream, nil
}
