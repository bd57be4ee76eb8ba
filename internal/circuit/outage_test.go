package circuit_test

import (
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/simnet"
)

// heard collects the events of a client by their kind.
type heard struct {
	mu    sync.Mutex
	kinds map[circuit.EventKind]int
	at    map[circuit.EventKind]time.Time // the last one
}

// listen is newClient with its events heard, too.
func (w *network) listen(open socket) (*client, *heard) {
	h := &heard{kinds: make(map[circuit.EventKind]int), at: make(map[circuit.EventKind]time.Time)}
	whole := w.open
	if open != nil {
		w.open = open
		defer func() { w.open = whole }()
	}
	c := w.newClient(func(cfg *circuit.Config) {
		pass := cfg.OnEvent
		cfg.OnEvent = func(e circuit.Event) {
			h.mu.Lock()
			h.kinds[e.Kind]++
			h.at[e.Kind] = e.At
			h.mu.Unlock()
			pass(e)
		}
	})
	return c, h
}

func (h *heard) count(k circuit.EventKind) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kinds[k]
}

// guardsOf counts the circuits in a state by their guards' operators.
func guardsOf(c *client, state circuit.PathState) map[string]int {
	out := make(map[string]int)
	for _, p := range c.Paths() {
		if p.State == state {
			out[p.Guard.Operator]++
		}
	}
	return out
}

// A client that is cut off again and again, for moments and for long, keeps its
// two guards: nobody is punished for our own connection, each outage is said
// and its end is noticed at once.
func TestSwitchingNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 30, nil, func(w *network, n *simnet.Net) {
			c, h := w.listen(nil)
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			guards := guardsOf(c, circuit.PathReady)
			target := farFrom(t, w, c)
			for i, cut := range []time.Duration{time.Second, 5 * time.Second, 20 * time.Second, 2 * time.Minute} {
				sendUntil(t, c, sending, target)
				n.SetDown(clientAddr.Addr(), true)
				time.Sleep(cut)
				before := h.count(circuit.EventOffline)
				n.SetDown(clientAddr.Addr(), false)
				back := time.Now()
				sendUntil(t, c, sending, target)
				if took := time.Since(back); took > 6*time.Second {
					t.Errorf("cut %d of %v: the next message took %v", i, cut, took)
				}
				if cut >= 5*time.Second && before == 0 {
					t.Errorf("cut %d of %v: nobody was told", i, cut)
				}
				time.Sleep(20 * time.Second)
				c.until(t, "after a cut", ready(circuit.DefaultIdle))
				if now := guardsOf(c, circuit.PathReady); !maps.Equal(now, guards) {
					t.Errorf("cut %d of %v: ready paths begin at %v, at the start at %v", i, cut, now, guards)
				}
			}
			if off, on := h.count(circuit.EventOffline), h.count(circuit.EventOnline); off != on || off < 3 {
				t.Errorf("%d outages and %d ends of them were told", off, on)
			}
		})
	})
}

// badSocket is a socket whose network is gone: sending fails here.
type badSocket struct {
	net.PacketConn
	gone *atomic.Bool
}

func (s *badSocket) WriteTo(p []byte, a net.Addr) (int, error) {
	if s.gone.Load() {
		return 0, &net.OpError{Op: "write", Net: "udp", Err: syscall.ENETUNREACH}
	}
	return s.PacketConn.WriteTo(p, a)
}

// An error of our own socket is known for what it is at once.
func TestNoRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 30, nil, func(w *network, n *simnet.Net) {
			var gone atomic.Bool
			gone.Store(true)
			c, h := w.listen(func(a netip.AddrPort) (net.PacketConn, error) {
				pc, err := n.PacketConn(a)
				return &badSocket{pc, &gone}, err
			})
			defer c.stop(t)
			start := time.Now()
			for h.count(circuit.EventOffline) == 0 {
				<-c.events
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("said after %v", took)
			}
			time.Sleep(time.Minute)
			gone.Store(false)
			start = time.Now()
			for h.count(circuit.EventOnline) == 0 {
				<-c.events
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("the network's return was noticed after %v", took)
			}
		})
	})
}

// All three primary guards are gone for good: another one is found, and they
// do not get in its way for long.
func TestPrimaryGuardsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 30, nil, func(w *network, n *simnet.Net) {
			c, h := w.listen(nil)
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			target := farFrom(t, w, c)
			var down []netip.Addr
			for len(down) < 3 {
				for _, p := range c.Paths() {
					if p.State == circuit.PathReady {
						n.SetDown(p.Guard.Addr.Addr(), true)
						down = append(down, p.Guard.Addr.Addr())
						break
					}
				}
				took := time.Now()
				sendUntil(t, c, sending, target)
				t.Logf("guard %d is gone: a message after %v", len(down), time.Since(took))
				if d := time.Since(took); d > 12*time.Second {
					t.Errorf("guard %d is gone: a message after %v", len(down), d)
				}
				c.until(t, "over another guard", ready(circuit.DefaultIdle))
			}
			time.Sleep(15 * time.Minute)
			sendUntil(t, c, sending, target)
			for _, p := range c.Paths() {
				for _, a := range down {
					if p.State != circuit.PathBuilding && p.Guard.Addr.Addr() == a {
						t.Errorf("a path over a dead guard: %+v", p)
					}
				}
			}
			if h.count(circuit.EventSuspect) != 0 {
				t.Error("a dead guard is called a suspect")
			}
		})
	})
}
