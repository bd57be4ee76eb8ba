package swarm

import (
	"context"
	"slices"
	"testing"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// holds reports whether a member holds a hint for another one.
func (n *node) holds(of *node, kind store.Kind, a mailbox.Address, x [32]byte) bool {
	hints, err := n.store.Hints(of.id, store.MaxHints)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return slices.ContainsFunc(hints, func(h store.Hint) bool {
		return h.Name.Kind == kind && h.Name.Address == a && (kind != store.KindEnvelope || h.Name.Ref == x)
	})
}

// TestHintsSurviveTheCoordinator lets a coordinator go away between a change
// that a member missed and that member's return. Nobody reconciles.
func TestHintsSurviveTheCoordinator(t *testing.T) {
	w := newWorld(t, 5)
	coordinator, away := w.nodes[0], w.nodes[4]
	c := w.client(coordinator)
	open, early := newBox(w), newBox(w)
	c.open(early, 1<<20)
	gone := c.send(early, randomEnvelope(4096))
	eventually(t, "the member's copy", func() bool { return away.has(early, gone) })
	away.stop()
	c.open(open, 1<<20)
	var sent []mailbox.Digest
	for range 40 {
		sent = append(sent, c.send(open, randomEnvelope(4096)))
	}
	deleted := c.send(open, randomEnvelope(4096))
	if err := c.delete(open, open.owner, deleted); err != nil {
		t.Fatal(err)
	}
	if err := c.delete(early, early.owner, gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hints", func() bool {
		for _, d := range sent {
			if !coordinator.holds(away, store.KindEnvelope, open.Address(), d) {
				return false
			}
		}
		return coordinator.holds(away, store.KindGrant, open.Address(), [32]byte{}) &&
			coordinator.holds(away, store.KindTombstone, open.Address(), [32]byte{}) &&
			coordinator.holds(away, store.KindTombstone, early.Address(), [32]byte{})
	})
	for _, n := range []*node{coordinator, away} {
		n.every = -1
	}
	coordinator.stop()
	coordinator.start()
	away.start()
	eventually(t, "the hints to be delivered", func() bool {
		hints, err := coordinator.store.Hints(away.id, 1)
		return err == nil && len(hints) == 0
	})
	for _, d := range sent {
		if !away.has(open, d) {
			t.Error("an envelope is missing")
		}
	}
	if away.has(early, gone) || away.has(open, deleted) {
		t.Error("what was deleted is there")
	}
}

// TestHintsForTheDeletedAndExpiredVanish keeps a member away.
func TestHintsForTheDeletedAndExpiredVanish(t *testing.T) {
	w := newWorld(t, 5)
	c, b, n, away := w.client(w.nodes[0]), newBox(w), w.nodes[0], w.nodes[4]
	c.open(b, 1<<20)
	away.stop()
	holds := func(kind store.Kind, d mailbox.Digest) bool { return n.holds(away, kind, b.Address(), d) }
	first, second := c.send(b, randomEnvelope(4096)), c.send(b, randomEnvelope(4096))
	eventually(t, "hints for both", func() bool { return holds(store.KindEnvelope, first) && holds(store.KindEnvelope, second) })
	if err := c.delete(b, b.owner, first); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tombstone's hint", func() bool { return holds(store.KindTombstone, first) })
	again := store.Hint{Node: away.id, Name: store.Name{Kind: store.KindEnvelope, Address: b.Address(), Ref: first, Expiry: 1 << 40}}
	if err := n.store.AddHints(context.Background(), []store.Hint{again}); err != nil {
		t.Fatal(err)
	}
	if holds(store.KindEnvelope, first) || !holds(store.KindEnvelope, second) {
		t.Error("the hint for what is deleted stays, or another one went with it")
	}
	w.advance(3 * 24 * time.Hour)
	if err := n.swarm.Expire(context.Background()); err != nil {
		t.Fatal(err)
	}
	if holds(store.KindEnvelope, second) || holds(store.KindTombstone, first) {
		t.Error("hints outlive what they are for")
	}
}
