package link

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/onion"
	"sotto/internal/padding"
	"sotto/internal/simnet"
)

// tally reads a channel to its end and counts its cells.
type tally struct {
	padding, others atomic.Int64
	longest         atomic.Int64 // nanoseconds without a PADDING cell
	done            sync.WaitGroup
}

func tallied(ch *Channel) *tally {
	var c tally
	last := time.Now()
	c.done.Go(func() {
		var cell onion.Cell
		for ch.ReadCell(&cell) == nil {
			if cell.Command() != onion.CmdPadding {
				c.others.Add(1)
				continue
			}
			c.padding.Add(1)
			c.longest.Store(max(c.longest.Load(), int64(time.Since(last))))
			last = time.Now()
		}
	})
	return &c
}

// padded runs a test in virtual time with a channel from a client, or from
// another node, to a node.
func padded(t *testing.T, fromNode bool, test func(near, far *Channel)) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 20 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		var a *Endpoint
		if fromNode {
			a, _ = w.node(0)
		} else {
			a = w.client()
		}
		defer closeAll(t, a, b)
		near, far, _ := pair(t, a, b, node)
		test(near, far)
		near.Abort(0)
		far.Abort(0)
	})
}

// Nothing is sent before a circuit stands, a cell every 5.77 s from either end
// while it does, and nothing after it has ended (spec/padding.md §5.1).
func TestLinkPadding(t *testing.T) {
	padded(t, false, func(near, far *Channel) {
		atClient, atGuard := tallied(near), tallied(far)
		time.Sleep(10 * time.Minute)
		if n, m := atClient.padding.Load(), atGuard.padding.Load(); n != 0 || m != 0 {
			t.Fatalf("%d and %d cells before a circuit stands", n, m)
		}
		near.AllowPadding()
		far.AllowPadding()
		time.Sleep(2 * time.Hour)
		down, up := atClient.padding.Load(), atGuard.padding.Load()
		if mean := 2 * time.Hour / time.Duration(up+down); mean < 5500*time.Millisecond || mean > 6050*time.Millisecond {
			t.Errorf("a cell every %v, want about 5.77 s", mean)
		}
		if up < down*8/10 || down < up*8/10 {
			t.Errorf("%d cells up and %d down: the ends do not pad alike", up, down)
		}
		if n := atClient.others.Load() + atGuard.others.Load(); n != 0 {
			t.Errorf("%d cells that are not PADDING", n)
		}
		near.Abort(0)
		far.Abort(0)
		atClient.done.Wait()
		atGuard.done.Wait()
		for _, p := range []*pad{near.pad, far.pad} {
			p.mu.Lock()
			if len(p.channels) != 0 || p.timer.Stop() {
				t.Error("padding goes on after the last circuit has ended")
			}
			p.mu.Unlock()
		}
	})
}

// One end alone never lets the line be silent for longer than LinkMax.
func TestOneEndIsEnough(t *testing.T) {
	padded(t, false, func(near, far *Channel) {
		atGuard := tallied(far)
		near.AllowPadding()
		time.Sleep(20 * time.Minute)
		if longest := time.Duration(atGuard.longest.Load()); longest > padding.LinkMax+50*time.Millisecond {
			t.Errorf("%v without a cell", longest)
		}
	})
}

// Cells in either direction put padding off: a link that is used has none.
func TestUsedLinksAreNotPadded(t *testing.T) {
	padded(t, false, func(near, far *Channel) {
		atClient, atGuard := tallied(near), tallied(far)
		near.AllowPadding()
		far.AllowPadding()
		for i := range 300 {
			from := near
			if i%2 == 0 {
				from = far
			}
			if err := from.WriteCells(numbered(i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := atClient.padding.Load() + atGuard.padding.Load(); n != 0 {
			t.Errorf("%d cells of padding between cells one second apart", n)
		}
	})
}

func TestNodesDoNotPad(t *testing.T) {
	padded(t, true, func(near, far *Channel) {
		atNear, atFar := tallied(near), tallied(far)
		near.AllowPadding()
		far.AllowPadding()
		time.Sleep(20 * time.Minute)
		if n := atNear.padding.Load() + atFar.padding.Load(); n != 0 {
			t.Errorf("%d cells between nodes", n)
		}
	})
}

// blocked is a stream on which another write is under way.
type blocked struct {
	stream
	mu    sync.Mutex // guards what follows
	tries int
	err   error
}

func (b *blocked) TryWriteAll([]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	return b.err
}

// state returns how often it was tried, and makes it fail with err from now on.
func (b *blocked) state(err error) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	return b.tries
}

// left returns how many channels padding has to ride on.
func (p *pad) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.channels)
}

// A channel that takes nothing is neither waited for nor given up, and one that
// has ended is given up.
func TestPaddingWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rand seeds
		p := &pad{rand: &rand}
		str := &blocked{err: quic.ErrWouldBlock}
		ch := &Channel{str: str, id: 1, pad: p}
		ch.AllowPadding()
		time.Sleep(time.Minute)
		ended := errors.New("reset")
		if tries := str.state(ended); tries < 6 || p.left() != 1 {
			t.Fatalf("%d tries in a minute, %d channels left", tries, p.left())
		}
		time.Sleep(padding.LinkMax)
		tries := str.state(ended)
		time.Sleep(time.Minute)
		if again := str.state(ended); again != tries || p.left() != 0 {
			t.Fatalf("%d tries on a channel that had ended", again-tries)
		}
		p.close()
		ch.AllowPadding()
		if p.left() != 0 {
			t.Error("a channel pads on a link that is closed")
		}
	})
}

// Whatever writes beside it, padding goes out in whole cells, between those of
// others.
func TestPaddingIsWhole(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	near, far, _ := pair(t, a, b, node)
	near.AllowPadding()
	const batches, each = 200, 70
	var writers sync.WaitGroup
	writers.Go(func() {
		for range batches {
			var cells []*onion.Cell
			for i := range each {
				c := numbered(i)
				c.SetCircID(near.CircID())
				cells = append(cells, c)
			}
			if err := near.WriteCells(cells...); err != nil {
				t.Error(err)
			}
		}
	})
	stop := make(chan struct{})
	writers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				near.pad.fire()
			}
		}
	})
	var cell onion.Cell
	pads := 0
	for next := 0; next < batches*each; {
		if err := far.ReadCell(&cell); err != nil {
			t.Fatal(err)
		}
		if err := onion.CheckHeader(&cell); err != nil || cell.CircID() != near.CircID() {
			t.Fatalf("cell %d of circuit %d: %v", next, cell.CircID(), err)
		}
		if cell.Command() == onion.CmdPadding {
			pads++
			continue
		}
		want := numbered(next % each)
		want.SetCircID(near.CircID())
		if cell != *want {
			t.Fatalf("cell %d differs", next)
		}
		next++
	}
	close(stop)
	writers.Wait()
	t.Logf("%d cells of padding between %d others", pads, batches*each)
}
