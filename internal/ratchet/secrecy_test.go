package ratchet

import (
	"fmt"
	"testing"

	"sotto/internal/suite"
)

// thief is somebody who reads a stored session, knows the algorithms and has
// every message that ever passed.
type thief struct {
	t    *testing.T
	keys []suite.Key
}

// newThief gathers every key in the state and every key that follows from one
// by any derivation of the protocol, with each ratchet key that was ever sent.
func newThief(t *testing.T, s *Session, ratchetKeys []suite.DHPublic) *thief {
	s = reload(t, s)
	keys := []suite.Key{s.root, s.nextSend, s.nextRecv}
	if s.sending != nil {
		keys = append(keys, s.sending.header, s.sending.chain)
		for _, pub := range ratchetKeys {
			dh := must[[]byte](t)(s.sending.self.Shared(pub))
			for _, from := range keys[:3] {
				root, chain, next := kdfRoot(from, dh, nil)
				keys = append(keys, root, chain, next)
			}
		}
	}
	for _, c := range s.chains {
		keys = append(keys, c.header, c.key)
		for _, k := range c.skipped {
			keys = append(keys, k.key)
		}
	}
	th := &thief{t: t}
	for _, k := range keys {
		for range 12 { // longer than any chain here
			th.keys = append(th.keys, k, kdfMessage(k))
			k = kdfChain(k)
		}
	}
	return th
}

// opens reports whether any key opens the message's body.
func (th *thief) opens(s *Session, msg []byte) bool {
	p := must[parts](th.t)(splitMessage(msg))
	for _, k := range th.keys {
		if _, err := openBody(k, p, bodyAD(s.id, p.prefix, []byte("ad"))); err == nil {
			return true
		}
	}
	return false
}

// TestForwardSecrecy talks for some turns and then gives each side's state to a
// thief, at every turn: nothing that was read before opens, and a message that
// is still to come does, which shows that the thief is no fool.
func TestForwardSecrecy(t *testing.T) {
	alice, bob := newPair(t)
	var read [][]byte
	var announced []suite.DHPublic
	from, to := alice, bob
	for turn := range 7 {
		for i := range 3 {
			text := fmt.Sprintf("%d.%d", turn, i)
			read = append(read, send(t, from, text))
			if i != 1 { // one is overtaken, and read late
				receive(t, to, read[len(read)-1], text)
			}
		}
		announced = append(announced, from.sending.public)
		late := read[len(read)-2]
		if !newThief(t, to, announced).opens(to, late) {
			t.Fatal("the key of a message to come is not kept")
		}
		receive(t, to, late, fmt.Sprintf("%d.1", turn))
		for side, s := range map[string]*Session{"reader": to, "writer": from} {
			th := newThief(t, s, announced)
			for i, msg := range read {
				if th.opens(s, msg) {
					t.Fatalf("turn %d: the %s's state opens message %d", turn, side, i)
				}
			}
		}
		from, to = to, from
	}
}

// TestFirstMessageForwardSecrecy shows that accepting a first message leaves
// nothing in the session that opens it, and that the prekeys alone do.
func TestFirstMessageForwardSecrecy(t *testing.T) {
	alice, c := newContact(t)
	bob, _, err := must[*Opening](t)(ReadFirst(c.bob, c.first, []byte("ad"))).Accept(nil, c.alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	f := must[*first](t)(parseFirst(c.first))
	announced := []suite.DHPublic{c.bob.Signed.Public(), f.ephemeral, alice.sending.public}
	p := must[parts](t)(splitMessage(f.message))
	for side, s := range map[string]*Session{"initiator": alice, "responder": bob} {
		for _, k := range newThief(t, s, announced).keys {
			if _, err := openBody(k, p, bodyAD(s.id, p.prefix, nil)); err == nil {
				t.Fatalf("the %s's state opens the first message", side)
			}
		}
	}
}

// TestHealingAfterTheft: a thief who only listens is out after one exchange.
func TestHealingAfterTheft(t *testing.T) {
	alice, bob := newPair(t)
	receive(t, bob, send(t, alice, "m"), "m")
	stolen := reload(t, bob)
	receive(t, alice, send(t, bob, "a"), "a")
	m := send(t, alice, "b")
	receive(t, bob, m, "b")
	refuse(t, stolen, m, ErrNotForUs)
	a := send(t, bob, "c")
	for _, k := range newThief(t, stolen, []suite.DHPublic{alice.sending.public, bob.sending.public}).keys {
		p := must[parts](t)(splitMessage(a))
		if _, err := openBody(k, p, bodyAD(bob.id, p.prefix, []byte("ad"))); err == nil {
			t.Fatal("a stolen state opens what was written after healing")
		}
	}
}

// TestMessagesLookRandom: nothing but length tells a message of one session
// from another's, and equal plaintexts differ.
func TestMessagesLookRandom(t *testing.T) {
	alice, _ := newPair(t)
	seen := map[byte]int{}
	const n = 2048
	for range n {
		seen[send(t, alice, "same")[suite.NonceSize]]++
	}
	for b, count := range seen {
		if count > n/256*5 {
			t.Fatalf("the header's first byte is %#x in %d of %d messages", b, count, n)
		}
	}
}
