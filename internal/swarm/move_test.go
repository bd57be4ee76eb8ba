package swarm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// letter is an envelope that was acknowledged, or deleted again.
type letter struct {
	b *box
	d mailbox.Digest
}

// boxIn makes a mailbox that a swarm keeps under the newest directory.
func (w *world) boxIn(id directory.SwarmID) *box {
	for {
		if b := newBox(w); w.dir.SwarmIDOf(b.Address()) == id {
			return b
		}
	}
}

// keepersOf returns the running nodes that keep a mailbox.
func (w *world) keepersOf(b *box) (out []*node) {
	for _, n := range w.nodes {
		if w.dir.InSwarmOf(n.id, b.Address()) {
			out = append(out, n)
		}
	}
	return out
}

// fill opens mailboxes and puts letters in each.
func (w *world) fill(boxes, letters int) (out []letter) {
	for range boxes {
		b := newBox(w)
		c := w.client(w.keepersOf(b)[0])
		c.open(b, 1<<20)
		for range letters {
			out = append(out, letter{b, c.send(b, randomEnvelope(4096))})
		}
		c.close()
	}
	return out
}

// arrive waits until all that the newest directory lists have what is theirs and
// nobody else has anything.
func (w *world) arrive(letters []letter) {
	w.t.Helper()
	for _, n := range w.nodes {
		if _, listed := w.dir.Node(n.id); listed {
			eventually(w.t, "a member to be whole", func() bool { return n.swarm.Moving().Whole })
		}
	}
	for _, l := range letters {
		for _, n := range w.keepersOf(l.b) {
			eventually(w.t, "a keeper to have a letter", func() bool { return n.has(l.b, l.d) })
		}
	}
	for _, n := range w.nodes {
		eventually(w.t, "all to be handed over", func() bool { return n.swarm.Moving().Mailboxes == 0 })
		for _, l := range letters {
			if !w.dir.InSwarmOf(n.id, l.b.Address()) {
				eventually(w.t, "what is others' to be dropped", func() bool { return !n.has(l.b, l.d) && !n.opened(l.b) })
			}
		}
	}
}

// put moves a node into a swarm.
func moved(doc *directory.Document, n *node, to directory.SwarmID) {
	i := slices.IndexFunc(doc.Nodes, func(x directory.Node) bool { return x.ID == n.id })
	doc.Nodes[i].Swarm = to
}

func TestJoinAndLeave(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(3, 4)
	gone := letters[0]
	if err := w.client(w.nodes[0]).delete(gone.b, gone.b.owner, gone.d); err != nil {
		t.Fatal(err)
	}
	fresh := w.replace(w.nodes[4])
	old := w.nodes[4]
	w.tell(w.nodes[:5]...)
	fresh.join()
	w.arrive(letters[1:])
	if fresh.has(gone.b, gone.d) {
		t.Error("what was deleted came back")
	}
	eventually(t, "the one that left to say so", func() bool { return strings.Contains(w.log.String(), "may be switched off") })
	if got := old.store.Stats(); got.Envelopes != 0 || got.Bytes != 0 {
		t.Errorf("a node that left keeps %+v", got)
	}
	if m := old.swarm.Moving(); m.Member || m.Serial != 1 {
		t.Errorf("it says of itself %+v", m)
	}
	for _, l := range letters[1:] {
		if _, err := w.client(fresh).fetch(l.b, mailbox.Cursor{}, l.b.owner); err != nil {
			t.Error(err)
		}
	}
}

func TestTwoMembersReplacedAtOnce(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(3, 3)
	w.replace(w.nodes[3], w.nodes[4])
	w.tell(w.nodes[:5]...)
	w.nodes[5].join()
	w.nodes[6].join()
	w.arrive(letters)
}

// TestSplitAndMerge makes a third swarm of members of two, then dissolves one.
func TestSplitAndMerge(t *testing.T) {
	w := newWorld(t, 12)
	letters := w.fill(12, 2)
	w.change(func(doc *directory.Document) {
		moved(doc, w.nodes[0], 7)
		moved(doc, w.nodes[1], 7)
		moved(doc, w.nodes[3], 7)
	})
	w.tell(w.nodes...)
	w.arrive(letters)
	w.change(func(doc *directory.Document) {
		for _, n := range w.nodes {
			if at, _ := w.dir.Node(n.id); at.Swarm == 1 {
				moved(doc, n, 7)
			}
		}
	})
	w.tell(w.nodes...)
	w.arrive(letters)
}

// replace signs a directory in which new nodes, which do not run yet, have the
// places of others. It returns the last of them.
func (w *world) replace(gone ...*node) (fresh *node) {
	var entries []directory.Node
	for _, n := range gone {
		at, _ := w.dir.Node(n.id)
		var entry directory.Node
		fresh, entry = w.recruit(at.Swarm)
		entries = append(entries, entry)
	}
	w.change(func(doc *directory.Document) {
		without(gone...)(doc)
		doc.Nodes = append(doc.Nodes, entries...)
	})
	return fresh
}

// joinHeld starts a recruited node and keeps its moves from making a round,
// until the returned function.
func (n *node) joinHeld() (release func()) {
	n.w.t.Helper()
	n.live = n.w.source()
	n.make()
	n.swarm.turn <- struct{}{}
	n.run()
	return func() { <-n.swarm.turn }
}

// TestWorkGoesOnWhileMailboxesMove asks a new member that has moved nothing yet.
func TestWorkGoesOnWhileMailboxesMove(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(2, 3)
	gone := letters[0]
	if err := w.client(w.nodes[0]).delete(gone.b, gone.b.owner, gone.d); err != nil {
		t.Fatal(err)
	}
	fresh := w.replace(w.nodes[4])
	w.tell(w.nodes[:5]...)
	release := fresh.joinHeld()
	c := w.client(fresh)
	b := letters[0].b
	subscriber := w.client(fresh)
	opener, err := subscriber.subscribe(b, mailbox.Cursor{}, b.owner)
	if err != nil {
		t.Fatal(err)
	}
	reader := w.client(fresh)
	batch, err := reader.fetch(b, mailbox.Cursor{}, b.owner)
	if err != nil || len(batch.Items) != 2 {
		t.Fatalf("%v, %v", batch, err)
	}
	other := letters[3].b
	added := []letter{{b, c.send(b, randomEnvelope(4096))}, {other, c.send(other, randomEnvelope(4096))}}
	if batch, err = reader.fetch(other, mailbox.Cursor{}, other.owner); err != nil || len(batch.Items) != 4 {
		t.Fatalf("%v, %v", batch, err)
	}
	if err := c.delete(other, other.owner, letters[4].d); err != nil {
		t.Fatal(err)
	}
	unknown := newBox(w)
	if _, err := reader.fetch(unknown, mailbox.Cursor{}, unknown.owner); errors.Is(err, nil) || !errors.Is(err, mailbox.ErrBusy) && !errors.Is(err, mailbox.ErrNotOpen) {
		t.Errorf("a mailbox that nobody opened: %v", err)
	}
	if fresh.swarm.Moving().Whole {
		t.Error("whole before the move")
	}
	release()
	w.arrive(append(added, letters[1], letters[2], letters[3], letters[5]))
	for _, n := range w.keepersOf(b) {
		if n.has(gone.b, gone.d) || n.has(other, letters[4].d) {
			t.Error("what was deleted came back")
		}
	}
	// The subscriber saw each letter once, however it came.
	seen := map[mailbox.Digest]int{}
	for range 3 {
		seen[subscriber.next(opener).Item.Digest]++
	}
	if seen[letters[1].d] != 1 || seen[letters[2].d] != 1 || seen[added[0].d] != 1 {
		t.Error("a subscriber missed a letter or saw one twice")
	}
}

// TestChangesInQuickSuccession replaces all members, one after the other, without
// waiting for any mailbox to arrive.
func TestChangesInQuickSuccession(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(2, 3)
	for i := range 4 {
		fresh := w.replace(w.nodes[i])
		w.tell(w.nodes[:5+i]...)
		fresh.join()
	}
	w.arrive(letters)
}

// TestANodeGetsItsOwnSectionOnly asks for another swarm's records in every way.
func TestANodeGetsItsOwnSectionOnly(t *testing.T) {
	w := newWorld(t, 10)
	b := w.boxIn(0)
	c := w.client(w.keepersOf(b)[0])
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096))
	s := w.keepersOf(b)[0].swarm
	ask := func(asker *node) (errs []error) {
		ps := &peerStream{s: s, p: newPeer(s, asker.id, false)}
		refs := encodeRefs([]ref{{store.KindEnvelope, b.Address(), d}})
		for op, body := range map[opcode][]byte{
			opGet:       refs,
			opReconcile: reconcileCall{section: 0, queries: []query{{mode: queryList, lo: store.First, hi: store.End}}}.encode(),
			opMailbox:   mailboxQuery{address: b.Address()}.encode(),
		} {
			out, err := ps.handle(t.Context(), op, body)
			if err != nil && len(out) > 0 {
				t.Errorf("call %d: an answer beside an error", op)
			}
			errs = append(errs, err)
		}
		return errs
	}
	var stranger *node
	for _, n := range w.nodes {
		if !w.dir.InSwarmOf(n.id, b.Address()) {
			stranger = n
		}
	}
	for _, err := range ask(stranger) {
		if !errors.Is(err, mailbox.ErrWrongSwarm) {
			t.Errorf("a stranger: %v", err)
		}
	}
	for _, err := range ask(w.keepersOf(b)[1]) {
		if err != nil {
			t.Errorf("a member: %v", err)
		}
	}
}

// TestSubscribersAreSentOn ends subscriptions where mailboxes are kept no longer.
func TestSubscribersAreSentOn(t *testing.T) {
	w := newWorld(t, 5)
	b := newBox(w)
	w.client(w.nodes[0]).open(b, 1<<20)
	c := w.client(w.nodes[4])
	opener, err := c.subscribe(b, mailbox.Cursor{}, b.owner)
	if err != nil {
		t.Fatal(err)
	}
	d := w.client(w.nodes[0]).send(b, randomEnvelope(4096))
	if got := c.next(opener); got.Item.Digest != d {
		t.Error("another envelope")
	}
	fresh := w.replace(w.nodes[4])
	w.tell(w.nodes[:5]...)
	fresh.join()
	if _, err := c.rwc.Read(make([]byte, 1)); err == nil {
		t.Error("the subscription goes on")
	}
	if _, err := w.client(w.nodes[4]).subscribe(b, mailbox.Cursor{}, b.owner); !errors.Is(err, mailbox.ErrWrongSwarm) {
		t.Errorf("a subscription at one that left: %v", err)
	}
	// At the new member the client begins anew, and knows the digest.
	n := w.client(fresh)
	if opener, err = n.subscribe(b, mailbox.Cursor{}, b.owner); err != nil {
		t.Fatal(err)
	}
	if got := n.next(opener); got.Item.Digest != d {
		t.Error("another envelope")
	}
}
