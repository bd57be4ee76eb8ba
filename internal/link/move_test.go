package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/simnet"
)

// taps are the sockets of an endpoint, each watched.
type taps struct {
	w  *world
	mu sync.Mutex // guards all
	// all of them by the address that they are bound to, the newest last
	all []*observed
}

func (s *taps) open(local netip.Addr) (net.PacketConn, error) {
	pc, err := s.w.open(local)
	if err != nil {
		return nil, err
	}
	tap := &observed{PacketConn: pc}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, tap)
	return tap, nil
}

func (s *taps) opened() []*observed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*observed(nil), s.all...)
}

// connIDs returns the connection ids in packets with short headers.
func connIDs(datagrams [][]byte) map[string]bool {
	ids := make(map[string]bool)
	for _, d := range datagrams {
		if d[0]&0x80 == 0 {
			ids[string(d[1:1+connIDLength])] = true
		}
	}
	return ids
}

// A computer goes from one network to another while cells flow both ways: all
// arrive in order, on the new path nothing bears a connection id of the old one,
// and sessions are forgotten. The same when it comes back.
func TestLinkMoves(t *testing.T) {
	onRoad(t, func(t *testing.T, r *road, w *world, _, b *Endpoint, node directory.Node) {
		sockets := &taps{w: w}
		a, err := NewEndpoint(nil, Config{Sockets: sockets.open, Route: r.route})
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, a)
		near, far, in := pair(t, a, b, node)
		seen := map[string]bool{}
		for i, to := range [][2]string{{"127.0.3.1", "2001:db8:3::1"}, {"127.0.0.1", "2001:db8::1"}, {"127.0.3.1", "2001:db8:3::1"}} {
			if i == 1 && a.tickets.count() > 0 {
				t.Error("a ticket of another address is kept")
			}
			var both sync.WaitGroup
			both.Go(func() { pump(t, near, far, 3000) })
			both.Go(func() { pump(t, far, near, 3000) })
			time.Sleep(50 * time.Millisecond)
			r.goTo(to[0], to[1])
			both.Wait()
			time.Sleep(2 * time.Second)
			all := sockets.opened()
			if len(all) != i+2 {
				t.Fatalf("move %d: %d sockets", i, len(all))
			}
			for id := range connIDs(all[i].take()) {
				seen[id] = true
			}
			pump(t, near, far, 100)
			pump(t, far, near, 100)
			if sent := all[i].take(); len(sent) > 0 {
				t.Errorf("move %d: %d packets on the old path", i, len(sent))
			}
			fresh := connIDs(all[i+1].seen())
			for id := range fresh {
				if seen[id] {
					t.Errorf("move %d: connection id %x was used before", i, id)
				}
			}
			if len(fresh) == 0 {
				t.Errorf("move %d: nothing on the new path", i)
			}
		}
		if isDone(in.Done()) {
			t.Error("the link died")
		}
		if again, err := a.Get(context.Background(), node); err != nil || !alive(again) {
			t.Errorf("the link is not the pool's any more: %v", err)
		}
	})
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A network that is gone for a moment may be another one under the same
// address: the link goes on from another port. One that stays away takes its
// links with it within the idle timeout, and the next one is made anew.
func TestNetworkGoes(t *testing.T) {
	onRoad(t, func(t *testing.T, r *road, w *world, a, b *Endpoint, node directory.Node) {
		near, far, in := pair(t, a, b, node)
		visit(t, a, node)
		r.goTo("", "")
		r.limit.Store(1)
		time.Sleep(time.Second)
		if a.tickets.count() > 0 {
			t.Error("tickets outlive their network")
		}
		if _, err := a.Dial(context.Background(), node); !errors.Is(err, ErrNoRoute) {
			t.Errorf("dialling without a network: %v", err)
		}
		r.greatest()
		r.goTo("127.0.0.1", "2001:db8::1")
		r.limit.Store(0)
		time.Sleep(time.Second)
		r.greatest()
		pump(t, near, far, 100)
		pump(t, far, near, 100)
		if n := len(r.greatest()); n != 2 || isDone(in.Done()) {
			t.Errorf("%d sockets in use; dead: %v", n, isDone(in.Done()))
		}
		first, err := a.Get(context.Background(), node)
		if err != nil {
			t.Fatal(err)
		}
		r.goTo("", "")
		r.limit.Store(1)
		start := time.Now()
		<-first.Done()
		if d := time.Since(start); d > maxIdle+keepAlive {
			t.Errorf("dead network noticed after %v", d)
		}
		r.goTo("127.0.0.9", "2001:db8::9")
		r.limit.Store(0)
		for {
			_, err := a.Get(context.Background(), node)
			var backoff *BackoffError
			if err == nil {
				break
			} else if !errors.As(err, &backoff) {
				t.Fatal(err)
			}
			time.Sleep(backoff.Wait)
		}
	})
}

// After a sleep, which shows as a jump of the wall clock, links are dropped
// without a packet, sessions forgotten, and the next link is a new one.
func TestSleep(t *testing.T) {
	onRoad(t, func(t *testing.T, r *road, w *world, _, b *Endpoint, node directory.Node) {
		var mu sync.Mutex
		var jump time.Duration
		sockets := &taps{w: w}
		start := time.Now()
		a, err := NewEndpoint(nil, Config{Sockets: sockets.open, Route: r.route, Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(jump)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, a)
		for _, slept := range []time.Duration{8 * time.Hour, -time.Hour, time.Minute} {
			l, err := a.Get(context.Background(), node)
			if err != nil {
				t.Fatal(err)
			}
			// Just before the endpoint looks again, so that no keep-alive lies between.
			time.Sleep(2*watchEvery - time.Since(start)%watchEvery - time.Millisecond)
			mu.Lock()
			jump += slept
			mu.Unlock()
			all := sockets.opened()
			all[len(all)-1].take()
			time.Sleep(2 * time.Millisecond)
			if back := slept < 0; isDone(l.Done()) == back {
				t.Errorf("after %v: dropped: %v", slept, !back)
			}
			if isDone(l.Done()) && len(all[len(all)-1].take()) > 0 {
				t.Errorf("after %v: a farewell was sent", slept)
			}
			if _, err := a.Get(context.Background(), node); err != nil {
				t.Errorf("after %v: %v", slept, err)
			}
		}
	})
}

// nat is a router between a client and the network: it can give the client
// another port at any time.
type nat struct {
	w      *world
	closed chan struct{}
	in     chan packet

	mu     sync.Mutex // guards outside
	out    net.PacketConn
	reader sync.WaitGroup
	once   sync.Once
}

type packet struct {
	from net.Addr
	data []byte
}

func newNAT(w *world) *nat {
	n := &nat{w: w, closed: make(chan struct{}), in: make(chan packet, 1000)}
	n.rebind()
	return n
}

// rebind takes another outside port; what comes to the old one is lost.
func (n *nat) rebind() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.out != nil {
		_ = n.out.Close()
	}
	pc := n.w.socket(clientAddr)
	n.out = pc
	n.reader.Go(func() {
		for {
			buf := make([]byte, 2000)
			k, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			select {
			case n.in <- packet{from, buf[:k]}:
			case <-n.closed:
				return
			}
		}
	})
}

func (n *nat) outside() net.PacketConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.out
}

func (n *nat) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case got := <-n.in:
		return copy(p, got.data), got.from, nil
	case <-n.closed:
		return 0, nil, net.ErrClosed
	}
}

func (n *nat) WriteTo(p []byte, to net.Addr) (int, error) {
	if _, err := n.outside().WriteTo(p, to); err != nil && !errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(p), nil
}

func (n *nat) LocalAddr() net.Addr                { return net.UDPAddrFromAddrPort(clientAddr) }
func (n *nat) SetDeadline(t time.Time) error      { return n.SetReadDeadline(t) }
func (n *nat) SetWriteDeadline(t time.Time) error { return nil }

// SetReadDeadline ends reading: quic-go sets a deadline for that alone.
func (n *nat) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		n.once.Do(func() { close(n.closed) })
	}
	return nil
}

func (n *nat) Close() error {
	n.once.Do(func() { close(n.closed) })
	err := n.outside().Close()
	n.reader.Wait()
	return err
}

// A NAT that forgets its client and gives it another port costs no cell.
func TestNATRebinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 20 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		router := newNAT(w)
		a, err := NewEndpoint(router, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, a, b)
		near, far, in := pair(t, a, b, node)
		time.Sleep(time.Second) // a handshake is bound to its address
		for range 5 {
			router.rebind()
			pump(t, near, far, 300)
			pump(t, far, near, 300)
			time.Sleep(time.Second)
		}
		router.rebind() // in silence, but for keep-alives
		time.Sleep(2 * keepAlive)
		pump(t, far, near, 300)
		if isDone(in.Done()) {
			t.Error("the link died")
		}
	})
}

// A connection that ends while it is being moved does not keep the socket that it
// was to move to.
func TestEndedConnectionKeepsNoSocket(t *testing.T) {
	e := &Endpoint{conns: make(map[*quic.Conn]*tracked)}
	to := &carrier{users: 1}
	if _, err := e.join(&tracked{}, to); !errors.Is(err, ErrLost) || to.users != 0 {
		t.Errorf("the socket has %d users; %v", to.users, err)
	}
}
