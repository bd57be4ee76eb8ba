package ratchet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"sotto/internal/suite"
)

func TestConversation(t *testing.T) {
	alice, bob := newPair(t)
	for turn := range 8 {
		for i := range 1 + turn%3 {
			text := fmt.Sprintf("%d.%d", turn, i)
			receive(t, bob, send(t, alice, text), text)
		}
		alice, bob = reload(t, bob), reload(t, alice)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	alice, bob := newPair(t)
	var texts []string
	var msgs [][]byte
	for turn := range 3 {
		for i := range 4 {
			texts = append(texts, fmt.Sprintf("%d.%d", turn, i))
			msgs = append(msgs, send(t, alice, texts[len(texts)-1]))
		}
		// Only the last of the turn arrives before the answer.
		receive(t, bob, msgs[len(msgs)-1], texts[len(texts)-1])
		receive(t, alice, send(t, bob, "answer"), "answer")
	}
	for i := len(msgs) - 1; i >= 0; i-- {
		if i%4 == 3 {
			refuse(t, bob, msgs[i], ErrReplay)
			continue
		}
		receive(t, bob, msgs[i], texts[i])
		refuse(t, bob, msgs[i], ErrReplay)
	}
}

func TestMessageSize(t *testing.T) {
	alice, _ := newPair(t)
	msg := must[[]byte](t)(alice.Encrypt(rand.Reader, make([]byte, suite.KeySize), nil))
	if len(msg) != suite.KeySize+Overhead || len(msg) > 256 {
		t.Fatalf("a key takes %d bytes", len(msg))
	}
	if _, err := alice.Encrypt(rand.Reader, make([]byte, MaxPayload+1), nil); !errors.Is(err, ErrTooLong) {
		t.Fatalf("got %v, want ErrTooLong", err)
	}
}

func TestEveryChangedBitIsRefused(t *testing.T) {
	alice, bob := newPair(t)
	receive(t, alice, send(t, bob, "x"), "x")
	lost := send(t, alice, "lost") // a new chain for bob, and a key to skip
	msg := send(t, alice, "m")
	for _, m := range [][]byte{lost, msg} {
		for i := range m {
			bad := bytes.Clone(m)
			bad[i] ^= 1
			want := ErrNotForUs
			if i >= suite.NonceSize+sealedHeaderSize {
				want = ErrDamaged
			}
			refuse(t, bob, bad, want)
		}
		refuseAD(t, bob, m, []byte("other"), ErrDamaged)
	}
	for n := range Overhead {
		refuse(t, bob, msg[:n], ErrMalformed)
	}
	refuse(t, bob, make([]byte, MaxPayload+Overhead+1), ErrMalformed)
	refuse(t, alice, msg, ErrNotForUs) // its own message
	receive(t, bob, msg, "m")
	for i := range lost { // now through its skipped key
		bad := bytes.Clone(lost)
		bad[i] ^= 1
		if _, err := bob.Decrypt(bad, []byte("ad")); err == nil {
			t.Fatalf("byte %d changed and accepted", i)
		}
	}
	receive(t, bob, lost, "lost")
}

func TestEncryptFailsWithoutRandomness(t *testing.T) {
	_, bob := newPair(t)
	before := bob.Encode()
	for n := range suite.NonceSize + suite.DHSize {
		if _, err := bob.Encrypt(bytes.NewReader(make([]byte, n)), nil, nil); err == nil {
			t.Fatalf("encrypted with %d random bytes", n)
		}
		if !bytes.Equal(before, bob.Encode()) {
			t.Fatal("failing changed the session")
		}
	}
}

// discard advances a sending chain as if n messages had been lost.
func discard(t testing.TB, s *Session, n int) {
	t.Helper()
	send(t, s, "starts the chain")
	for range n - 1 {
		s.sending.chain = kdfChain(s.sending.chain)
		s.sending.next++
	}
}

func TestJumpKeepsTheNewestKeys(t *testing.T) {
	alice, bob := newPair(t)
	early := send(t, alice, "early")
	discard(t, alice, MaxJump-MaxSkip-1)
	kept := send(t, alice, "kept")
	discard(t, alice, MaxSkip-1)
	last := send(t, alice, "last")
	if _, passed, err := bob.current().walk(MaxJump); err != nil || len(passed) != MaxSkip {
		t.Fatalf("a walk holds %d keys, %v", len(passed), err)
	}
	start := time.Now()
	receive(t, bob, last, "last")
	t.Logf("a jump of %d took %v", MaxJump, time.Since(start))
	if n := len(bob.current().skipped); n != MaxSkip {
		t.Fatalf("%d keys kept", n)
	}
	bob = reload(t, bob)
	refuse(t, bob, early, ErrForgotten)
	receive(t, bob, kept, "kept")
	refuse(t, bob, last, ErrReplay)
}

func TestJumpTooFar(t *testing.T) {
	alice, bob := newPair(t)
	discard(t, alice, MaxJump+1)
	refuse(t, bob, send(t, alice, "m"), ErrTooFar)
	// And through the length of the previous chain.
	alice, bob = newPair(t)
	receive(t, alice, send(t, bob, "x"), "x")
	receive(t, bob, send(t, alice, "y"), "y")
	discard(t, alice, MaxJump+1)
	receive(t, alice, send(t, bob, "x"), "x")
	refuse(t, bob, send(t, alice, "m"), ErrTooFar)
}

func TestOldestSkippedKeysGoFirst(t *testing.T) {
	alice, bob := newPair(t)
	oldest, second := send(t, alice, "oldest"), send(t, alice, "second")
	receive(t, bob, send(t, alice, "a"), "a")
	receive(t, alice, send(t, bob, "b"), "b")
	discard(t, alice, MaxSkip-1) // with the two before, one too many
	receive(t, bob, send(t, alice, "c"), "c")
	refuse(t, bob, oldest, ErrForgotten)
	receive(t, bob, second, "second")
	total := 0
	for _, c := range bob.chains {
		total += len(c.skipped)
	}
	if total != MaxSkip-1 {
		t.Fatalf("%d keys kept", total)
	}
}

func TestReceivingChainsAreBounded(t *testing.T) {
	alice, bob := newPair(t)
	var late [][]byte
	for range MaxReceivingChains + 2 {
		late = append(late, send(t, alice, "late"))
		receive(t, bob, send(t, alice, "now"), "now")
		receive(t, alice, send(t, bob, "back"), "back")
	}
	if len(bob.chains) != MaxReceivingChains {
		t.Fatalf("%d chains kept", len(bob.chains))
	}
	for i, c := range bob.chains {
		if c.closed != (i < MaxReceivingChains-1) || c.closed != c.key.Equal(suite.Key{}) {
			t.Fatalf("chain %d: closed %v, with or without its key", i, c.closed)
		}
	}
	for i, m := range late {
		if i < len(late)-MaxReceivingChains {
			refuse(t, bob, m, ErrNotForUs)
		} else {
			receive(t, bob, m, "late")
		}
	}
}

// A peer that breaks the rules of its own session is refused, not believed.
func TestHeadersThatContradictTheSession(t *testing.T) {
	forge := func(s *Session, change func(*sendState)) []byte {
		cheat := reload(t, s)
		change(cheat.sending)
		return send(t, cheat, "cheat")
	}
	alice, bob := newPair(t)
	for range 2 {
		receive(t, bob, send(t, alice, "m"), "m")
	}
	receive(t, alice, send(t, bob, "x"), "x")
	old := reload(t, alice)
	send(t, alice, "starts a chain")
	refuse(t, bob, forge(alice, func(c *sendState) { c.previous = 1 }), ErrDamaged)
	refuse(t, bob, forge(alice, func(c *sendState) { c.public = suite.DHPublic{} }), ErrDamaged)
	refuse(t, bob, forge(alice, func(c *sendState) { c.next = 1<<32 - 2 }), ErrTooFar)
	epoch := reload(t, alice)
	epoch.pqEpoch = 1
	refuse(t, bob, send(t, epoch, "m"), ErrEpoch)
	// A number beyond the length that the next chain gave to this one.
	receive(t, bob, send(t, old, "m"), "m")
	first := reload(t, old)
	receive(t, old, send(t, bob, "y"), "y")
	receive(t, bob, send(t, old, "m"), "m")
	first.sending.chain = suite.Key{} // what is left where the chain's key was
	refuse(t, bob, send(t, first, "beyond"), ErrDamaged)
}

func TestChainEnds(t *testing.T) {
	alice, bob := newPair(t)
	alice.sending.next = 1<<32 - 1
	if _, err := alice.Encrypt(rand.Reader, nil, nil); !errors.Is(err, ErrExhausted) {
		t.Fatalf("got %v, want ErrExhausted", err)
	}
	bob.current().next = 1<<32 - 2
	h := header{ratchet: alice.sending.public, number: 1<<32 - 1}
	msg := make([]byte, suite.NonceSize)
	msg = suite.Seal(msg, alice.sending.header, msg, h.encode(), alice.id[:])
	refuse(t, bob, append(msg, make([]byte, suite.TagSize)...), ErrDamaged)
}

func TestDevicesAndFieldTravelWithTheSession(t *testing.T) {
	alice, _ := newPair(t)
	alice.SetDevices([DeviceSize]byte{1}, [DeviceSize]byte{2})
	alice.pqEpoch, alice.pqProgress = 3, make([]byte, maxPQState)
	again := reload(t, alice)
	local, remote := again.Devices()
	if local[0] != 1 || remote[0] != 2 || again.pqEpoch != 3 || len(again.pqProgress) != maxPQState {
		t.Fatal("fields lost")
	}
	before := again.Encode()
	f1 := must[[PQFieldSize]byte](t)(again.PQField(rand.Reader))
	f2 := must[[PQFieldSize]byte](t)(again.PQField(rand.Reader))
	if f1 == f2 {
		t.Fatal("dummy fields repeat")
	}
	if err := again.TakePQField(f1); err != nil || !bytes.Equal(before, again.Encode()) {
		t.Fatalf("a dummy field changed the session: %v", err)
	}
}

func TestParseSessionRefuses(t *testing.T) {
	alice, bob := newPair(t)
	send(t, alice, "lost")
	receive(t, bob, send(t, alice, "m"), "m")
	for _, s := range []*Session{alice, bob} {
		stored := s.Encode()
		for n := range stored {
			if _, err := ParseSession(stored[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d of %d bytes: %v", n, len(stored), err)
			}
		}
		if _, err := ParseSession(append(stored, 0)); !errors.Is(err, ErrMalformed) {
			t.Fatalf("trailing byte: %v", err)
		}
	}
	for name, spoil := range map[string]func(*Session){
		"chains":        func(s *Session) { s.chains = slices.Repeat(s.chains, 6) },
		"two open":      func(s *Session) { s.chains = slices.Repeat(s.chains, 2) },
		"last closed":   func(s *Session) { s.current().closed = true },
		"floor":         func(s *Session) { s.current().floor = s.current().next + 1 },
		"key below":     func(s *Session) { s.current().floor = s.current().next },
		"key beyond":    func(s *Session) { s.current().skipped[0].number = s.current().next },
		"key twice":     func(s *Session) { c := s.current(); c.skipped = slices.Repeat(c.skipped, 2) },
		"too many keys": func(s *Session) { c := s.current(); c.skipped = make([]skippedKey, MaxSkip+1) },
		"PQ state":      func(s *Session) { s.pqProgress = make([]byte, maxPQState+1) },
		"too many total": func(s *Session) {
			c := &chain{next: MaxSkip, closed: true}
			for i := range uint32(MaxSkip) {
				c.skipped = append(c.skipped, skippedKey{number: i})
			}
			s.chains = slices.Insert(s.chains, 0, c)
		},
	} {
		bad := reload(t, bob)
		spoil(bad)
		if _, err := ParseSession(bad.Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestErase(t *testing.T) {
	alice, bob := newPair(t)
	send(t, alice, "lost")
	receive(t, bob, send(t, alice, "m"), "m")
	c := bob.current()
	bob.Erase()
	for _, k := range []suite.Key{bob.root, bob.nextRecv, c.header, c.key, c.skipped[0].key} {
		if !k.Equal(suite.Key{}) {
			t.Fatal("a key was left")
		}
	}
}
