package swarm

import (
	"errors"
	"slices"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// without removes nodes from a document.
func without(gone ...*node) func(*directory.Document) {
	return func(doc *directory.Document) {
		doc.Nodes = slices.DeleteFunc(doc.Nodes, func(x directory.Node) bool {
			return slices.ContainsFunc(gone, func(n *node) bool { return n.id == x.ID })
		})
	}
}

func (n *node) peerIDs() (ids []identity.NodeID) {
	for _, p := range n.swarm.view().peers {
		ids = append(ids, p.id)
	}
	return ids
}

func TestMembersComeAndGo(t *testing.T) {
	w := newWorld(t, 5)
	fresh, entry := w.recruit(0)
	w.change(func(doc *directory.Document) {
		without(w.nodes[4])(doc)
		doc.Nodes = append(doc.Nodes, entry)
	})
	w.tell(w.nodes[:5]...)
	fresh.join()
	for _, n := range w.nodes[:4] {
		if v := n.swarm.view(); v.majority != 3 || len(v.peers) != 4 || slices.Contains(n.peerIDs(), w.nodes[4].id) {
			t.Errorf("a majority of %d, %d others", v.majority, len(v.peers))
		}
	}
	w.nodes[2].stop()
	w.nodes[3].stop()
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096)) // three of the new five
	eventually(t, "the new member to have it", func() bool { return fresh.has(b, d) })
	if w.nodes[4].has(b, d) {
		t.Error("a node that left was sent an envelope")
	}
	if _, err := w.client(w.nodes[4]).do(b.put(w, randomEnvelope(4096)), nil); !errors.Is(err, mailbox.ErrWrongSwarm) {
		t.Errorf("a put at a node that left: %v", err)
	}
}

// TestMajoritiesDoNotMix puts while some members have adopted another directory
// than the coordinator: neither side counts the other's members.
func TestMajoritiesDoNotMix(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	c.send(b, randomEnvelope(4096))
	_, entry := w.recruit(0) // never starts
	w.change(func(doc *directory.Document) {
		without(w.nodes[4])(doc)
		doc.Nodes = append(doc.Nodes, entry)
	})
	w.tell(w.nodes[1], w.nodes[2])
	w.nodes[4].stop()
	// Old: 0 and 3 of five; new: 1 and 2 of five. All four are members of both.
	for _, n := range []*node{w.nodes[0], w.nodes[1]} {
		if _, err := w.client(n).do(b.put(w, randomEnvelope(4096)), nil); !errors.Is(err, mailbox.ErrUnavailable) {
			t.Errorf("a put that half of the members count otherwise: %v", err)
		}
	}
	w.tell(w.nodes[3])
	w.client(w.nodes[1]).send(b, randomEnvelope(4096))
	w.tell(w.nodes[0])
	c.send(b, randomEnvelope(4096))
}

// A member that adopts a directory while a change is on its way to its disk
// gives no vote for it under the old one.
func TestNoVoteAfterAdoption(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	s := w.nodes[1].swarm
	v := s.view()
	e := envelopeOf(b.put(w, randomEnvelope(4096)))
	moved := func() error {
		_, err := w.nodes[1].store.Put(t.Context(), e)
		w.change(without(w.nodes[4]))
		w.tell(w.nodes[1])
		return err
	}
	eventually(t, "the mailbox to be here", func() bool { return w.nodes[1].opened(b) })
	_, err := s.agree(t.Context(), v, proposal{op: opPut, addr: b.Address(), body: mailbox.EncodeRequest(b.put(w, randomEnvelope(4096))), put: e, local: func(done func(*mailbox.Receipt, error)) { done(nil, moved()) }})
	if !errors.Is(err, mailbox.ErrWrongSwarm) {
		t.Errorf("a vote after the directory changed: %v", err)
	}
}

func (n *node) opened(b *box) bool {
	_, _, err := n.store.Mailbox(b.Address())
	return !errors.Is(err, store.ErrNotOpen)
}
