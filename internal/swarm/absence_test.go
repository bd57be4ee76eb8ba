package swarm

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/mailbox"
)

func TestMajorityWithTwoMembersStopped(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	w.nodes[3].stop()
	w.nodes[4].stop()
	var sent []mailbox.Digest
	for range 20 {
		sent = append(sent, c.send(b, randomEnvelope(4096)))
	}
	w.nodes[2].stop()
	if _, err := c.do(b.put(w, randomEnvelope(4096)), nil); !errors.Is(err, mailbox.ErrUnavailable) {
		t.Errorf("a put without a majority: %v", err)
	}
	for _, n := range w.nodes[2:] {
		n.start()
	}
	for _, n := range w.nodes {
		for _, d := range sent {
			eventually(t, "members to catch up", func() bool { return n.has(b, d) })
		}
	}
	c.send(b, randomEnvelope(4096))
}

func TestSlowMemberDelaysNothing(t *testing.T) {
	w := newWorld(t, 5)
	slow := w.nodes[4]
	slow.stop()
	slow.mu.Lock()
	slow.up, slow.frozen = true, true
	slow.mu.Unlock()
	defer func() {
		slow.mu.Lock()
		slow.up = false
		slow.mu.Unlock()
	}()
	c, b := w.client(w.nodes[0]), newBox(w)
	began := time.Now()
	c.open(b, 1<<20)
	for range 50 {
		c.send(b, randomEnvelope(4096))
	}
	if d := time.Since(began); d > callTimeout/2 {
		t.Errorf("50 puts took %v", d)
	}
}

func TestTombstoneReachesWhoWasAway(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096))
	away := w.nodes[4]
	eventually(t, "the last member", func() bool { return away.has(b, d) })
	away.stop()
	if err := c.delete(b, b.owner, d); err != nil {
		t.Fatal(err)
	}
	away.start()
	eventually(t, "the tombstone", func() bool { return !away.has(b, d) })
	// Nothing brings the envelope back.
	for _, n := range w.nodes {
		for _, p := range n.swarm.view().peers {
			eventually(t, "a round with every member", func() bool { return p.reconcile(context.Background(), false) == nil })
		}
		if n.has(b, d) {
			t.Error("a deleted envelope came back")
		}
	}
}

func TestExpiredIsNotBroughtBack(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	away := w.nodes[4]
	away.stop()
	d := c.send(b, randomEnvelope(4096))
	w.advance(25 * time.Hour)
	away.start()
	for _, p := range away.swarm.view().peers {
		eventually(t, "a round with every member", func() bool { return p.reconcile(context.Background(), false) == nil })
	}
	if away.has(b, d) {
		t.Error("an expired envelope was copied")
	}
	for _, n := range w.nodes {
		if err := n.swarm.Expire(context.Background()); err != nil {
			t.Error(err)
		}
		if n.has(b, d) {
			t.Error("an expired envelope is still here")
		}
	}
}

// TestWholeSwarmCrashes cuts the power of all members at once.
func TestWholeSwarmCrashes(t *testing.T) {
	w := newWorldOn(t, 5, func(int) (vfs.FS, string) { return vfs.NewCrashableMem(), "store" })
	b := newBox(w)
	w.client(w.nodes[0]).open(b, 8<<20)
	var mu sync.Mutex
	acked := map[mailbox.Digest]bool{}
	stop := make(chan struct{})
	enough := make(chan struct{}, 1000)
	var wg sync.WaitGroup
	for i := range 4 {
		c := w.client(w.nodes[i])
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				e := randomEnvelope(4096)
				if _, err := c.do(b.put(w, e), nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[mailbox.EnvelopeDigest(b.Address(), e)] = true
				mu.Unlock()
				enough <- struct{}{}
			}
		})
	}
	for range 100 {
		<-enough
	}
	mu.Lock()
	must := make([]mailbox.Digest, 0, len(acked))
	for d := range acked {
		must = append(must, d)
	}
	mu.Unlock()
	var after []vfs.FS
	for _, n := range w.nodes {
		after = append(after, n.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{}))
	}
	close(stop)
	wg.Wait()
	for i, n := range w.nodes {
		n.stop()
		n.fs = after[i]
	}
	for _, n := range w.nodes {
		n.start()
	}
	for _, d := range must {
		have := 0
		for _, n := range w.nodes {
			if n.has(b, d) {
				have++
			}
		}
		if have == 0 {
			t.Fatal("an acknowledged envelope is lost everywhere")
		}
	}
	for _, n := range w.nodes {
		for _, d := range must {
			eventually(t, "all members to have all again", func() bool { return n.has(b, d) })
		}
	}
}

// TestNewMemberSaysBusy asks a member that lost its disk, before it has heard
// of anyone, for a mailbox that the others have.
func TestNewMemberSaysBusy(t *testing.T) {
	w := newWorld(t, 5)
	b := newBox(w)
	c := w.client(w.nodes[0])
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096))
	fresh := w.nodes[4]
	fresh.stop()
	for _, n := range w.nodes[:4] {
		n.freeze(true) // it can dial them, and hears nothing
	}
	fresh.fs = vfs.NewMem()
	fresh.start()
	if _, err := w.client(fresh).fetch(b, mailbox.Cursor{}, b.owner); !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("before catching up: %v", err)
	}
	fresh.stop()
	for _, n := range w.nodes[:4] {
		n.freeze(false)
	}
	fresh.start()
	eventually(t, "the lost disk to be filled again", func() bool { return fresh.has(b, d) })
}
