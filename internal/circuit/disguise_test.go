package circuit_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/padding"
	"sotto/internal/simnet"
)

// Sizes of what dummies imitate: sealed frames for an envelope of 4 KiB
// (spec/padding.md §3).
const (
	putBytes    = 4 + 6266
	answerBytes = 4 + 1066
	pushBytes   = 4 + 5162
)

// mailboxes is a service that answers as a swarm's member does: a put with an
// answer, and whoever sends one byte gets pushes.
type mailboxes struct {
	pushes chan struct{}
	wg     sync.WaitGroup
}

// OpenStream implements relay.ExitDialer.
func (m *mailboxes) OpenStream(context.Context, identity.NodeID) (io.ReadWriteCloser, error) {
	near, far := net.Pipe()
	m.wg.Go(func() { m.serve(far) })
	return near, nil
}

func (m *mailboxes) serve(s io.ReadWriteCloser) {
	defer s.Close()
	var one [1]byte
	if _, err := io.ReadFull(s, one[:]); err != nil {
		return
	}
	if one[0] == 'p' {
		if _, err := io.CopyN(io.Discard, s, putBytes-1); err == nil {
			_, _ = s.Write(make([]byte, answerBytes))
			_, _ = io.Copy(io.Discard, s)
		}
		return
	}
	for range m.pushes {
		if _, err := s.Write(make([]byte, pushBytes)); err != nil {
			return
		}
	}
}

// watcher notes runs of cells as a guard sees them, and runs of packets as
// somebody on the line does.
type watcher struct {
	mu      sync.Mutex
	on      bool
	cells   map[string]*run // by circuit and direction
	packets map[bool]*run   // by direction
	shapes  map[string]int  // of runs of cells
	sizes   map[string][]int
}

type run struct {
	last  time.Time
	shape []string
	bytes int
}

// silence is the pause that ends a run; all of a message leaves in one moment.
const silence = 3 * time.Millisecond

func newWatcher() *watcher {
	return &watcher{cells: map[string]*run{}, packets: map[bool]*run{}, shapes: map[string]int{}, sizes: map[string][]int{}}
}

func (w *watcher) cell(c *onion.Cell, toward bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on || c.Command() == onion.CmdPadding {
		return
	}
	key := fmt.Sprint(c.CircID(), toward)
	r := w.cells[key]
	if r == nil || time.Since(r.last) > silence {
		w.endCells(r, toward)
		r = &run{}
		w.cells[key] = r
	}
	r.last = time.Now()
	r.shape = append(r.shape, c.Command().String())
}

func (w *watcher) endCells(r *run, toward bool) {
	if r != nil {
		w.shapes[fmt.Sprintf("toward the client %v: %s", toward, strings.Join(r.shape, " "))]++
	}
}

func (w *watcher) packet(from, to netip.AddrPort, size int) bool {
	toward := to.Addr() == clientAddr.Addr()
	if !toward && from.Addr() != clientAddr.Addr() || size < 200 {
		return false // between nodes, or no cell in it
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on {
		return false
	}
	r := w.packets[toward]
	if r == nil || time.Since(r.last) > silence {
		w.endPackets(r, toward)
		r = &run{}
		w.packets[toward] = r
	}
	r.last = time.Now()
	r.shape = append(r.shape, "packet")
	r.bytes += size
	return false
}

func (w *watcher) endPackets(r *run, toward bool) {
	if r != nil && len(r.shape) > 2 { // shorter ones are padding and ends
		key := fmt.Sprintf("toward the client %v: %d packets", toward, len(r.shape))
		w.sizes[key] = append(w.sizes[key], r.bytes)
	}
}

// watch notes what goes by while f runs.
func (w *watcher) watch(f func()) (shapes map[string]int, sizes map[string][]int) {
	w.mu.Lock()
	w.on = true
	w.mu.Unlock()
	f()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = false
	for key, r := range w.cells {
		w.endCells(r, strings.HasSuffix(key, "true"))
	}
	for toward, r := range w.packets {
		w.endPackets(r, toward)
	}
	shapes, sizes = w.shapes, w.sizes
	fresh := newWatcher()
	w.cells, w.packets, w.shapes, w.sizes = fresh.cells, fresh.packets, fresh.shapes, fresh.sizes
	return shapes, sizes
}

// throughGuard returns a client whose guard in use is node 0.
func throughGuard(t *testing.T, w *network) *client {
	t.Helper()
	for range 300 {
		c := w.newClient(nil)
		c.SetCover(padding.Low)
		c.until(t, "at the start", ready(circuit.DefaultIdle))
		here := 0
		for _, p := range c.Paths() {
			if p.Guard.ID == w.node(0).ID {
				here++
			}
		}
		if here == circuit.DefaultIdle-1 {
			return c
		}
		c.stop(t)
	}
	t.Fatal("no client has taken node 0 for its guard")
	return nil
}

// What a guard, or somebody on the line, sees of dummies is what it sees of
// messages: as many cells in one run, of the same commands, answered alike, in
// as many packets of the same sizes (spec/padding.md §7).
func TestDummiesLookLikeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := newWatcher()
		n := simnet.New(simnet.Config{Latency: 5 * time.Millisecond, Drop: seen.packet})
		defer n.Close()
		pushes := make(chan struct{})
		swarm := &mailboxes{pushes: pushes}
		defer swarm.wg.Wait()
		w := startNetworkOf(t, 9, 4433, n.PacketConn, &tamperer{nodes: []int{0}, see: seen.cell}, swarm)
		defer w.stop()
		c := throughGuard(t, w)
		defer c.stop(t)
		sub, target := subscribe(t, w, c)
		exchange(t, c, sub, target, pushes, 1)
		time.Sleep(time.Minute) // other circuits take the place of those in use
		shapes, sizes := seen.watch(func() { exchange(t, c, sub, target, pushes, 40) })
		close(pushes)
		_ = sub.Close()
		time.Sleep(time.Minute)

		c.SetCover(padding.High)
		time.Sleep(time.Minute) // hops are told
		dummyShapes, dummySizes := seen.watch(func() { time.Sleep(8 * time.Minute) })
		want, got := slices.Sorted(maps.Keys(shapes)), slices.Sorted(maps.Keys(dummyShapes))
		for _, shape := range got {
			if !slices.Contains(want, shape) && dummyShapes[shape] > coincidences {
				t.Errorf("a guard sees what no message is: %s (%d times)", shape, dummyShapes[shape])
			}
		}
		for _, shape := range want {
			if dummyShapes[shape] == 0 && shapes[shape] > coincidences {
				t.Errorf("no dummy looks like this message: %s", shape)
			}
		}
		for key, real := range sizes {
			dummies := dummySizes[key]
			if len(real) <= coincidences {
				continue
			}
			if len(dummies) == 0 {
				t.Errorf("no dummy takes %s", key)
				continue
			}
			if low, high := slices.Min(real)-24, slices.Max(real)+24; slices.Sorted(slices.Values(dummies))[len(dummies)/2] < low ||
				slices.Sorted(slices.Values(dummies))[len(dummies)/2] > high {
				t.Errorf("%s: dummies of %d to %d bytes, messages of %d to %d", key,
					slices.Min(dummies), slices.Max(dummies), low, high)
			}
		}
		t.Logf("messages: %v", shapes)
		t.Logf("dummies: %v", dummyShapes)
		t.Logf("messages: %v", sizes)
	})
}

// coincidences is how often two things may fall into one moment.
const coincidences = 3

// subscribe opens the stream on which pushes come.
func subscribe(t *testing.T, w *network, c *client) (*circuit.Stream, identity.NodeID) {
	t.Helper()
	target := farFrom(t, w, c)
	sub, err := c.OpenStream(t.Context(), circuit.Isolation{Purpose: circuit.Receive}, target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.Write([]byte("s")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	return sub, target
}

// exchange puts and takes some messages.
func exchange(t *testing.T, c *client, sub *circuit.Stream, target identity.NodeID, pushes chan<- struct{}, messages int) {
	t.Helper()
	for range messages {
		pushes <- struct{}{}
		if _, err := io.ReadFull(sub, make([]byte, pushBytes)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		put, err := c.OpenStream(t.Context(), circuit.Isolation{}, target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := put.Write(append([]byte("p"), make([]byte, putBytes-1)...)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(put, make([]byte, answerBytes)); err != nil {
			t.Fatal(err)
		}
		_ = put.Close()
		time.Sleep(time.Second)
	}
}
