package link

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/directory"
	"sotto/internal/onion"
	"sotto/internal/simnet"
)

// road is a simulated network that shows what passes, and can be narrowed.
type road struct {
	limit atomic.Int64 // greater packets are lost; 0: none is

	mu   sync.Mutex                // guards what follows
	most map[netip.AddrPort]int    // the greatest packet that arrived, by its sender
	away map[netip.Addr]netip.Addr // what the computer is reached from
	gone bool                      // the computer is offline
}

func (r *road) drop(from, _ netip.AddrPort, size int) bool {
	if limit := r.limit.Load(); limit != 0 && int64(size) > limit {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most[from] = max(r.most[from], size)
	return false
}

// greatest returns the greatest packet since the last call, by its sender.
func (r *road) greatest() map[netip.AddrPort]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.most
	r.most = make(map[netip.AddrPort]int)
	return most
}

// route is Config.Route: the computer is at home unless told otherwise.
func (r *road) route(remote netip.AddrPort) (netip.Addr, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return netip.Addr{}, false
	}
	return r.away[home(remote.Addr())], true
}

// goTo makes other addresses the computer's own, or none.
func (r *road) goTo(v4, v6 string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = v4 == ""
	if !r.gone {
		r.away[homeV4], r.away[homeV6] = netip.MustParseAddr(v4), netip.MustParseAddr(v6)
	}
}

var homeV4, homeV6 = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")

func home(remote netip.Addr) netip.Addr {
	if remote.Is4() {
		return homeV4
	}
	return homeV6
}

// onRoad runs f with node 1 and a client that can move, in virtual time, once
// with IPv4 and once with IPv6.
func onRoad(t *testing.T, f func(*testing.T, *road, *world, *Endpoint, *Endpoint, directory.Node)) {
	t.Helper()
	for name, at := range map[string]string{"IPv4": "127.2.0.1:4000", "IPv6": "[2001:db8:2::1]:4000"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &road{
					most: make(map[netip.AddrPort]int),
					away: map[netip.Addr]netip.Addr{homeV4: homeV4, homeV6: homeV6},
				}
				sim := simnet.New(simnet.Config{Latency: 20 * time.Millisecond, MTU: 1500, Drop: r.drop})
				defer sim.Close()
				w := newWorld(t, 2, sim)
				w.nodes[1].Node.Addr = netip.MustParseAddrPort(at)
				b, node := w.node(1)
				a, err := NewEndpoint(nil, Config{Sockets: w.open, Route: r.route})
				if err != nil {
					t.Fatal(err)
				}
				defer closeAll(t, a, b)
				f(t, r, w, a, b, node)
			})
		})
	}
}

func (w *world) open(local netip.Addr) (net.PacketConn, error) {
	return w.sim.PacketConn(netip.AddrPortFrom(local, 0))
}

// pump sends count cells and waits until they have arrived in order.
func pump(t *testing.T, from, to *Channel, count int) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		cells := make([]*onion.Cell, count)
		for i := range cells {
			cells[i] = numbered(i)
		}
		done <- from.WriteCells(cells...)
	}()
	// Links that live and carry nothing must not make a test wait for ever.
	if err := to.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var c onion.Cell
	for i := range count {
		if err := to.ReadCell(&c); err != nil {
			t.Fatalf("cell %d: %v", i, err)
		}
		if c != *numbered(i) {
			t.Fatalf("cell %d differs", i)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Packets grow on a wide path; a path with the least MTU of IPv6 works; one
// that loses large packets later is left, in whichever direction cells go, and
// nothing is lost.
func TestPacketsFitThePath(t *testing.T) {
	onRoad(t, func(t *testing.T, r *road, w *world, a, b *Endpoint, node directory.Node) {
		near, far, in := pair(t, a, b, node)
		for addr, size := range r.greatest() {
			if size > initialPacketSize {
				t.Errorf("%v began with packets of %d bytes", addr, size)
			}
		}
		wide := func(when string) {
			t.Helper()
			r.greatest()
			for range 10 { // searching takes a packet and some round trips at a time
				pump(t, near, far, 50)
				pump(t, far, near, 50)
				time.Sleep(time.Second)
			}
			for addr, size := range r.greatest() {
				if size <= 1280 {
					t.Errorf("%s: %v sends packets of at most %d bytes", when, addr, size)
				}
			}
		}
		wide("on a wide path")
		for i, direction := range [][2]*Channel{{near, far}, {far, near}} {
			r.limit.Store(initialPacketSize)
			r.greatest()
			start := time.Now()
			if i == 1 { // who waits for an answer has asked for it
				pump(t, near, far, 1)
			}
			pump(t, direction[0], direction[1], 20+480*i)
			t.Logf("direction %d: recovered within %v after the path had shrunk", i, time.Since(start))
			r.limit.Store(0)
			wide("on a path that is wide again")
		}
		select {
		case <-in.Done():
			t.Error("the link died")
		default:
		}
		_ = w
	})
}

// A path with the least MTU that IPv6 allows carries links from the start.
func TestNarrowPath(t *testing.T) {
	onRoad(t, func(t *testing.T, r *road, _ *world, a, b *Endpoint, node directory.Node) {
		r.limit.Store(initialPacketSize)
		near, far, _ := pair(t, a, b, node)
		pump(t, near, far, 1000)
		pump(t, far, near, 1000)
	})
}

// A cell that waits alone leaves in one packet, also late on a busy channel.
func TestCellFitsAPacket(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		tap := &observed{PacketConn: w.socket(clientAddr)}
		a, err := NewEndpoint(tap, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, a, b)
		near, far, _ := pair(t, a, b, node)
		pump(t, near, far, 20_000) // offsets have eight bytes from here on
		time.Sleep(500 * time.Millisecond)
		tap.take()
		pump(t, near, far, 1)
		time.Sleep(100 * time.Millisecond)
		large := 0
		for _, p := range tap.take() {
			if len(p) > smallPacket {
				large++
			}
		}
		if large != 1 {
			t.Errorf("a cell took %d packets", large)
		}
	})
}
