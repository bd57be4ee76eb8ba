package circuit_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/relay"
	"sotto/internal/simnet"
)

// slowly makes each handshake of a relay take a while of virtual time.
type slowly time.Duration

func (d slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Duration(d))
	return rand.Read(p)
}

// overload makes every relay able to answer ten CREATEs a second, and offers it
// fifty. What it returns ends that.
func overload(t *testing.T, w *network, n *simnet.Net) (stop func()) {
	t.Helper()
	w.change = func(cfg *relay.Config) {
		cfg.Rand = slowly(100 * time.Millisecond)
		cfg.Limits = relay.Limits{MaxHandshakes: 1, MaxWaiting: 2, ClientRate: 100, ClientBurst: 100, MaxClientCircuits: 10_000}
	}
	w.stop()
	for i := range w.local {
		if err := w.startNode(i); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for i := range w.local {
		pc, err := n.PacketConn(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i), 1}), 0))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer func() { done <- struct{}{} }()
			flood(ctx, t, pc, w.node(i))
		}()
	}
	return func() {
		cancel()
		for range w.local {
			<-done
		}
	}
}

// flood offers a node fifty CREATEs a second, for which nothing is paid.
func flood(ctx context.Context, t *testing.T, pc net.PacketConn, node directory.Node) {
	end, err := link.NewEndpoint(pc, link.Config{})
	if err != nil {
		t.Error(err)
		return
	}
	defer end.Close()
	_, create, err := onion.StartHandshake(rand.Reader, node.ID, node.OnionKey, onion.ClassStream, nil)
	if err != nil {
		t.Error(err)
		return
	}
	for ctx.Err() == nil {
		l, err := end.Get(ctx, node)
		if err != nil {
			return
		}
		ch, err := l.Open(ctx)
		if err != nil {
			return
		}
		cells, err := onion.SplitCreate(create, ch.CircID(), onion.CmdCreate)
		if err != nil || ch.WriteCells(&cells[0], &cells[1]) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A client whose relays are overloaded pays them in work, says so, and has its
// circuits; when the load has gone, it pays nothing any more.
func TestBusyRelaysArePaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 8, nil, func(w *network, n *simnet.Net) {
			stop := overload(t, w, n)
			time.Sleep(time.Second)
			var paid atomic.Int64
			c := w.newClient(func(cfg *circuit.Config) {
				cfg.OnEvent = func(e circuit.Event) {
					if e.Kind != circuit.EventBusy {
						return
					}
					if paid.Add(1); !strings.Contains(e.Text, "is busy. This computer does some work") {
						t.Errorf("said %q", e.Text)
					}
				}
			})
			defer c.stop(t)
			s, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(s, []byte("through the crowd")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			if !ready(circuit.DefaultIdle)(c.Paths()) {
				t.Errorf("paths after ten seconds: %+v", c.Paths())
			}
			if paid.Load() == 0 {
				t.Error("no relay was paid, though all refuse four of five")
			}
			stop()
			time.Sleep(2 * time.Minute)
			paid.Store(0)
			c.NewPath()
			time.Sleep(30 * time.Second)
			if n := paid.Load(); n != 0 || !ready(circuit.DefaultIdle)(c.Paths()) {
				t.Errorf("paid %d times without load; paths: %+v", n, c.Paths())
			}
		})
	})
}
