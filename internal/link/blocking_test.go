package link

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/onion"
	"sotto/internal/simnet"
)

// A packet that is lost delays the cells of its channel and of no other.
func TestLossDelaysOneChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 40 * time.Millisecond
		var lose atomic.Bool // the next packet with a cell in it
		sim := simnet.New(simnet.Config{Latency: latency, Drop: func(_, to netip.AddrPort, size int) bool {
			return size > onion.CellSize && to.Port() == 4000 && lose.CompareAndSwap(true, false)
		}})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		hit, farHit, in := pair(t, a, b, node)
		l, err := a.Get(t.Context(), node)
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := other.WriteCells(numbered(0)); err != nil {
			t.Fatal(err)
		}
		farOther, err := in.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var c onion.Cell
		if err := farOther.ReadCell(&c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		start := time.Now()
		lose.Store(true)
		if err := hit.WriteCells(numbered(1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 20 {
			sent := time.Now()
			if err := other.WriteCells(numbered(i)); err != nil {
				t.Fatal(err)
			}
			if err := farOther.ReadCell(&c); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(sent); d > latency+5*time.Millisecond {
				t.Fatalf("cell %d of the other channel took %v", i, d)
			}
			if i == 0 && lose.Load() {
				t.Fatal("nothing was lost")
			}
		}
		if err := farHit.ReadCell(&c); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) < 2*latency {
			t.Error("the lost cell was not late")
		}
	})
}

// Channels that nobody reads fill their own windows and leave the link to the
// others.
func TestStoppedReadersDelayNobody(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		near, far, in := pair(t, a, b, node)
		l, err := a.Get(t.Context(), node)
		if err != nil {
			t.Fatal(err)
		}
		for range stoppedReaders {
			stuck, err := l.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stuck.WriteCells(numbered(0)); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := stuck.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			for err == nil {
				err = stuck.WriteCells(numbered(1), numbered(2), numbered(3), numbered(4))
			}
			if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
				t.Fatalf("a channel that nobody reads: %v", err)
			}
		}
		start := time.Now()
		pump(t, near, far, 3000)
		pump(t, far, near, 3000)
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("the other channel took %v", d)
		}
	})
}

// stoppedReaders is how many channels may be stuck at once on a link whose
// window has not grown yet. Packages relay and circuit read theirs always, and
// end those of which they would have to hold too much.
const stoppedReaders = connWindowStart/streamWindow - 1
