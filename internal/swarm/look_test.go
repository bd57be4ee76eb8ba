package swarm

import (
	"bytes"
	crand "crypto/rand"
	"io"
	"testing"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// conversationBox is one direction of a real conversation in one period.
func conversationBox(t *testing.T, c *mailbox.Conversation, p identity.Period, initiator bool, reader *identity.Persona) (*box, suite.Key) {
	t.Helper()
	b, err := c.Box(p, initiator, reader.Base().Public())
	if err != nil {
		t.Fatal(err)
	}
	return &box{Locator: b.Locator, owner: must(c.Owner(p, initiator, reader.Base())), shared: b.Write}, b.Key
}

// TestCuriousLook holds a conversation over two directions and two periods,
// opens a member's store and compares its mailboxes: no field and no stretch of
// any envelope is in two of them, and nothing of the people is there.
func TestCuriousLook(t *testing.T) {
	w := newWorld(t, 5)
	alice, bob := must(identity.NewSeed(crand.Reader)).Persona(0), must(identity.NewSeed(crand.Reader)).Persona(0)
	conv := must(mailbox.NewConversation(crand.Reader, w.now()))
	c := w.client(w.nodes[0])
	text := []byte("the same words in every mailbox, as a careless client would send them")
	var boxes []*box
	for _, ahead := range []identity.Period{0, 1} {
		for _, initiator := range []bool{true, false} {
			p := conv.Period(w.now(), initiator) + ahead
			reader := bob
			if !initiator {
				reader = alice
			}
			b, key := conversationBox(t, conv, p, initiator, reader)
			c.open(b, 1<<20)
			for range 3 {
				e := &mailbox.Envelope{Slots: [][]byte{text}, Body: text}
				d := c.send(b, must(mailbox.SealEnvelope(crand.Reader, key, b.Address(), e)))
				for _, n := range w.nodes { // a majority has it, and all shall be looked at
					eventually(t, "every member's copy", func() bool { return n.has(b, d) })
				}
			}
			boxes = append(boxes, b)
		}
	}
	for _, n := range w.nodes {
		n.stop()
		n.compare(t, boxes, secretsOf(alice, bob, text))
	}
}

func secretsOf(a, b *identity.Persona, text []byte) [][]byte {
	out := [][]byte{text[:16]}
	for _, p := range []*identity.Persona{a, b} {
		root, base, dh := p.Root().Public(), p.Base().Public(), p.Identity().Public()
		out = append(out, root[:], base[:], dh[:], []byte(p.ID().String()), []byte(root.String()))
	}
	return out
}

const stretch = 12 // equal by chance once in 2^96 pairs

// compare opens the files of a stopped node, and the rows of its mailboxes.
func (n *node) compare(t *testing.T, boxes []*box, secrets [][]byte) {
	t.Helper()
	names, err := n.fs.List(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := n.fs.Open(n.fs.PathJoin(n.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if bytes.Contains(raw, s) {
				t.Errorf("%s holds a name or a plaintext", name)
			}
		}
	}
	st, err := store.Open(n.dir, store.Options{FS: n.fs})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	seen := map[[stretch]byte]int{}
	for i, b := range boxes {
		for _, piece := range contents(t, st, b) {
			for j := 0; j+stretch <= len(piece); j++ {
				s := [stretch]byte(piece[j:])
				if bytes.Count(s[:], s[:1]) == stretch {
					continue // padding of formats, the same everywhere
				}
				if k, ok := seen[s]; ok && k != i {
					t.Fatalf("mailboxes %d and %d share bytes", k, i)
				}
				seen[s] = i
			}
		}
	}
}

// contents are a mailbox's address, keys, signatures and envelopes. Times and
// the member's own quote are public and alike in all mailboxes.
func contents(t *testing.T, st *store.Store, b *box) [][]byte {
	t.Helper()
	a := b.Address()
	out := [][]byte{a[:], b.Owner[:], b.Shared[:]}
	p, err := st.Fetch(a, 0, 0, 100, 1<<20)
	if err != nil || len(p.Items) == 0 {
		t.Fatalf("%d envelopes, %v", len(p.Items), err)
	}
	for _, it := range p.Items {
		r, err := st.Record(store.KindEnvelope, a, it.Digest)
		if err != nil {
			t.Fatal(err)
		}
		put := must(mailbox.ParseRequest(r.Proof)).(*mailbox.Put)
		out = append(out, it.Digest[:], it.Bytes, put.Signature[:])
	}
	return out
}

// TestRepeatDoesNotTellOfReading puts an envelope again, with its own expiry and
// with another, before and after its owner deleted it: a writer, say a stranger
// who was not accepted, must not learn from the answers that it was read.
func TestRepeatDoesNotTellOfReading(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	envelope := randomEnvelope(4096)
	p, d := b.put(w, envelope), mailbox.EnvelopeDigest(b.Address(), envelope)
	put := func() {
		resp, err := c.do(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.checkReceipts(resp.(*mailbox.Stored), b.Address(), d, p.Expiry)
	}
	put()
	repeat := func() string {
		put()
		other := *p
		other.Expiry -= 3600
		other.Sign(b.shared, nil)
		_, err := c.do(&other, nil)
		return mailbox.CodeOf(err).String()
	}
	before := repeat()
	if err := c.delete(b, b.owner, d); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		eventually(t, "the tombstone everywhere", func() bool { return !n.has(b, d) })
	}
	if after := repeat(); after != before {
		t.Errorf("answers %q before and %q after the deletion", before, after)
	}
	for _, n := range w.nodes { // one may have had neither the put nor the tombstone yet
		eventually(t, "the envelope to be gone for good", func() bool { return !n.has(b, d) })
	}
}
