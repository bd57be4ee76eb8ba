package client

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/padding"
)

// The circuit layer of the joiner's world: what spec/circuit.md §5.4 says of
// guards, vanguards, exits, isolation, ages and retirement, without the onion.
// Every message crosses a circuit in its own time, so that what nodes see comes
// late and out of step, as it does on a network.
const (
	sendAge    = 10 * time.Minute
	receiveAge = 4 * time.Hour
	// circuitDies is the mean time after which a circuit dies unasked, as when
	// a relay of it restarts, and linkDies that of a client's link, with which
	// all its circuits go.
	circuitDies = 12 * time.Hour
	linkDies    = 8 * time.Hour
)

// modelNet is one client's way to the members.
type modelNet struct {
	w      *joinWorld
	client int
	delay  time.Duration // of every circuit one way, if not drawn
	calm   bool          // nothing dies unasked

	mu      sync.Mutex // guards what follows
	rand    *rand.Rand
	guards  [2]identity.NodeID
	middles []identity.NodeID // the vanguards
	stand   map[circuit.Isolation][]*modelCircuit
	closed  bool
	stop    chan struct{}
	wg      sync.WaitGroup
}

// modelCircuit is one circuit.
type modelCircuit struct {
	n        *modelNet
	id       int32
	iso      circuit.Isolation
	hops     [3]identity.NodeID
	delay    time.Duration // one way
	retiring chan struct{}
	retired  bool
	dead     bool
	timers   []*time.Timer
	streams  map[*modelStream]bool
}

func newModelNet(w *joinWorld, client int, r *rand.Rand) *modelNet {
	n := &modelNet{w: w, client: client, rand: r, stand: map[circuit.Isolation][]*modelCircuit{}, stop: make(chan struct{})}
	for _, i := range r.Perm(len(w.swarm.order))[:6] {
		n.middles = append(n.middles, w.swarm.order[i])
	}
	n.guards, n.middles = [2]identity.NodeID(n.middles[:2]), n.middles[2:]
	return n
}

// connect lets the client come back over the guards and vanguards that it has.
func (n *modelNet) connect() *modelNet {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed, n.stop = false, make(chan struct{})
	n.wg.Add(1)
	go n.lose(n.stop, time.Duration(n.rand.ExpFloat64()*float64(linkDies)))
	return n
}

// lose lets the link die now and then, and every circuit with it.
func (n *modelNet) lose(stop chan struct{}, d time.Duration) {
	defer n.wg.Done()
	for {
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-stop:
			t.Stop()
			return
		}
		n.mu.Lock()
		if !n.calm {
			n.killAllLocked()
		}
		d = time.Duration(n.rand.ExpFloat64() * float64(linkDies))
		n.mu.Unlock()
	}
}

func (n *modelNet) killAllLocked() {
	for _, list := range n.stand {
		for _, c := range slices.Clone(list) {
			c.dieLocked()
		}
	}
}

func (c *modelCircuit) dieLocked() {
	c.dead = true
	for _, t := range c.timers {
		t.Stop()
	}
	for s := range c.streams {
		s.cut()
	}
	c.streams = nil
	c.n.stand[c.iso] = slices.DeleteFunc(c.n.stand[c.iso], func(x *modelCircuit) bool { return x == c })
}

func (c *modelCircuit) retire() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.dead || c.retired {
		return
	}
	c.retired = true
	close(c.retiring)
	if len(c.streams) == 0 {
		c.dieLocked()
	}
}

func (c *modelCircuit) die() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if !c.dead {
		c.dieLocked()
	}
}

// circuitLocked finds the circuit for a stream, or builds one.
func (n *modelNet) circuitLocked(iso circuit.Isolation, avoid []circuit.Isolation, target identity.NodeID) *modelCircuit {
	away := map[identity.NodeID]bool{}
	for _, other := range avoid {
		for _, c := range n.stand[other] {
			away[c.hops[2]] = true
		}
	}
	for _, c := range n.stand[iso] {
		if !c.retired && !slices.Contains(c.hops[:], target) && !away[c.hops[2]] {
			return c
		}
	}
	c := &modelCircuit{
		n: n, iso: iso, retiring: make(chan struct{}), streams: map[*modelStream]bool{},
		delay: time.Duration(40+n.rand.IntN(110)) * time.Millisecond,
	}
	if n.delay > 0 {
		c.delay = n.delay
	}
	c.hops[0] = n.guards[0]
	if c.hops[0] == target {
		c.hops[0] = n.guards[1]
	}
	others := n.w.swarm.order
	draw := func(from []identity.NodeID, not map[identity.NodeID]bool) identity.NodeID {
		for range 1000 {
			id := from[n.rand.IntN(len(from))]
			if id != target && !slices.Contains(c.hops[:], id) && !not[id] {
				return id
			}
		}
		panic("joiner: no node is left for a path")
	}
	middles, age := others, sendAge
	if iso.Purpose == circuit.Receive {
		middles, age = n.middles, receiveAge
	}
	c.hops[1] = draw(middles, nil)
	c.hops[2] = draw(others, away)
	age -= time.Duration(n.rand.Int64N(int64(age) / 4))
	c.timers = []*time.Timer{time.AfterFunc(age, c.retire)}
	if !n.calm {
		c.timers = append(c.timers, time.AfterFunc(time.Duration(n.rand.ExpFloat64()*float64(circuitDies)), c.die))
	}
	c.id = n.w.log.circuit(n.client, c.hops)
	n.stand[iso] = append(n.stand[iso], c)
	return c
}

// OpenStream implements Network.
func (n *modelNet) OpenStream(ctx context.Context, iso circuit.Isolation, avoid []circuit.Isolation, node identity.NodeID) (Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, circuit.ErrNoCircuit
	}
	c := n.circuitLocked(iso, avoid, node)
	up, down := newHalf(), newHalf()
	near := &modelStream{c: c, in: down, out: up, up: true}
	far := &modelStream{c: c, in: up, out: down}
	near.id = n.w.log.stream(c.id, node)
	far.id = near.id
	c.streams[near] = true
	s := n.w.swarm
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.serve(s.members[node], far)
		far.Close()
		n.w.log.ended(far.id)
	}()
	return near, nil
}

// Paths and the rest implement Network.
func (n *modelNet) Paths() []Path { return nil }

func (n *modelNet) NewPath() {}

func (n *modelNet) SetCover(padding.Level) {}

func (n *modelNet) Chatting() {}

func (n *modelNet) Close() error {
	n.mu.Lock()
	n.closed = true
	n.killAllLocked()
	close(n.stop)
	n.mu.Unlock()
	n.wg.Wait()
	return nil
}

// half is one direction of a stream.
type half struct {
	packets chan packet
	over    chan struct{}
	once    sync.Once
	rest    []byte
}

type packet struct {
	due   time.Time
	bytes []byte
}

func newHalf() *half { return &half{packets: make(chan packet, 64), over: make(chan struct{})} }

func (h *half) end() { h.once.Do(func() { close(h.over) }) }

// modelStream is one end of a stream.
type modelStream struct {
	net.Conn // only what streams have is used
	c        *modelCircuit
	id       int32
	in, out  *half
	up       bool // the client's end
	asked    bool // for a request key, since the last request
}

// Read returns what has arrived; what was sent before the other end closed
// still does.
func (s *modelStream) Read(b []byte) (int, error) {
	if len(s.in.rest) == 0 {
		var p packet
		select {
		case p = <-s.in.packets:
		default:
			select {
			case p = <-s.in.packets:
			case <-s.in.over:
				select {
				case p = <-s.in.packets:
				default:
					return 0, io.EOF
				}
			case <-s.out.over:
				return 0, io.ErrClosedPipe
			}
		}
		time.Sleep(time.Until(p.due))
		s.in.rest = p.bytes
	}
	n := copy(b, s.in.rest)
	s.in.rest = s.in.rest[n:]
	return n, nil
}

// Write sends a packet, whole.
func (s *modelStream) Write(b []byte) (int, error) {
	s.c.n.w.log.cells(s.c.id, len(b))
	due := time.Now().Add(s.c.delay + time.Duration(len(b)%7)*time.Millisecond)
	select {
	case <-s.out.over:
		return 0, io.ErrClosedPipe
	case <-s.in.over:
		return 0, io.ErrClosedPipe
	case s.out.packets <- packet{due, slices.Clone(b)}:
		return len(b), nil
	}
}

// Close ends both directions.
func (s *modelStream) Close() error {
	s.in.end()
	s.out.end()
	if !s.up {
		return nil
	}
	s.c.n.mu.Lock()
	defer s.c.n.mu.Unlock()
	delete(s.c.streams, s)
	if s.c.retired && !s.c.dead && len(s.c.streams) == 0 {
		s.c.dieLocked()
	}
	return nil
}

// cut ends a stream whose circuit died.
func (s *modelStream) cut() {
	s.in.end()
	s.out.end()
}

// Retiring implements Stream.
func (s *modelStream) Retiring() <-chan struct{} { return s.c.retiring }
