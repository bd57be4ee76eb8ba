package ratchet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"sotto/internal/suite"
)

func TestFirstContact(t *testing.T) {
	alice, c := newContact(t)
	if p, err := FirstPeriod(c.first); err != nil || p != 7 {
		t.Fatalf("period %d, %v", p, err)
	}
	o := must[*Opening](t)(ReadFirst(c.bob, c.first, []byte("ad")))
	if string(o.Sender()) != "alice" {
		t.Fatalf("sender %q", o.Sender())
	}
	bob, payload, err := o.Accept(rand.Reader, c.alice.Public())
	if err != nil || string(payload) != "hello" {
		t.Fatalf("payload %q, %v", payload, err)
	}
	if alice.ID() != bob.ID() {
		t.Fatal("the sides name the session differently")
	}
	if alice.Confirmed() || !bob.Confirmed() {
		t.Fatal("only the responder has heard from its peer")
	}
	receive(t, alice, send(t, bob, "at once"), "at once")
	if !alice.Confirmed() {
		t.Fatal("an answer confirms the session")
	}
}

func TestFirstHidesSenderAndPayload(t *testing.T) {
	_, c := newContact(t)
	pub := c.alice.Public()
	for name, secret := range map[string][]byte{"sender": []byte("alice"), "payload": []byte("hello"), "identity": pub[:]} {
		if bytes.Contains(c.first, secret) {
			t.Errorf("%s in the clear", name)
		}
	}
}

func TestFirstForOthersIsRefused(t *testing.T) {
	_, c := newContact(t)
	other := newPrekeys(t, 7)
	swap := func(f func(*PrekeySecrets)) PrekeySecrets { p := c.bob; f(&p); return p }
	for name, tc := range map[string]struct {
		secrets PrekeySecrets
		ad      string
		want    error
	}{
		"other device":   {other, "ad", ErrNotForUs},
		"other identity": {swap(func(p *PrekeySecrets) { p.Identity = other.Identity }), "ad", ErrNotForUs},
		"other prekey":   {swap(func(p *PrekeySecrets) { p.Signed = other.Signed }), "ad", ErrNotForUs},
		"other KEM key":  {swap(func(p *PrekeySecrets) { p.KEM = other.KEM }), "ad", ErrNotForUs},
		"other period":   {swap(func(p *PrekeySecrets) { p.Period++ }), "ad", ErrPeriod},
		"other ad":       {c.bob, "da", ErrNotForUs},
	} {
		if _, err := ReadFirst(tc.secrets, c.first, []byte(tc.ad)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// A relabelled period must not open even with the right keys: it is bound.
func TestFirstBindsItsPeriod(t *testing.T) {
	_, c := newContact(t)
	c.first[8]++
	c.bob.Period++
	if _, err := ReadFirst(c.bob, c.first, []byte("ad")); !errors.Is(err, ErrNotForUs) {
		t.Fatalf("got %v", err)
	}
}

func TestFirstNeedsTheSendersIdentity(t *testing.T) {
	_, c := newContact(t)
	o := must[*Opening](t)(ReadFirst(c.bob, c.first, []byte("ad")))
	for name, id := range map[string]suite.DHPublic{"other": newIdentity(t).Public(), "low order": {}} {
		if _, _, err := o.Accept(rand.Reader, id); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: got %v, want ErrIdentity", name, err)
		}
	}
	// A wrong guess spends nothing.
	if _, _, err := o.Accept(rand.Reader, c.alice.Public()); err != nil {
		t.Fatal(err)
	}
}

// No byte of a first message is free, so the digest recognises every replay.
func TestFirstIsNotMalleable(t *testing.T) {
	_, c := newContact(t)
	digest := FirstDigest(c.first)
	for i := range c.first {
		// Every byte of the small fields, a sample of the KEM ciphertext.
		if i > 60 && i < firstFixed-20 && i%97 != 0 {
			continue
		}
		bad := bytes.Clone(c.first)
		bad[i] ^= 0x80
		if FirstDigest(bad) == digest {
			t.Fatalf("byte %d is not in the digest", i)
		}
		if o, err := ReadFirst(c.bob, bad, []byte("ad")); err == nil {
			if _, _, err = o.Accept(rand.Reader, c.alice.Public()); err == nil {
				t.Fatalf("byte %d changed and accepted", i)
			}
		}
	}
	for _, bad := range [][]byte{nil, c.first[:1], c.first[:firstFixed], c.first[:len(c.first)-1], append(bytes.Clone(c.first), 0)} {
		o, err := ReadFirst(c.bob, bad, []byte("ad"))
		if err == nil {
			_, _, err = o.Accept(rand.Reader, c.alice.Public())
		}
		if err == nil {
			t.Fatalf("%d of %d bytes accepted", len(bad), len(c.first))
		}
	}
}

// An accepted session takes no second copy of its first message, and the
// digests tell a caller that the whole first contact is a repeat.
func TestFirstReplay(t *testing.T) {
	_, c := newContact(t)
	bob, _, err := must[*Opening](t)(ReadFirst(c.bob, c.first, []byte("ad"))).Accept(rand.Reader, c.alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	f := must[*first](t)(parseFirst(c.first))
	refuseAD(t, bob, f.message, nil, ErrReplay)
	_, other := newContact(t)
	if FirstDigest(c.first) != FirstDigest(bytes.Clone(c.first)) || FirstDigest(c.first) == FirstDigest(other.first) {
		t.Fatal("digest does not identify the message")
	}
}

// A stranger that numbers its first message high would have the recipient walk
// there, and store thousands of keys for a request that it may never accept.
func TestFirstIsTheFirstOfItsChain(t *testing.T) {
	_, c := newContact(t)
	alice, whole, err := Initiate(rand.Reader, c.alice, []byte("alice"), c.bob.Public(), []byte("hello"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	prefix := whole[:len(whole)-len(must[*first](t)(parseFirst(whole)).message)]
	for _, number := range []uint32{1, MaxSkip, MaxJump} {
		cheat := reload(t, alice)
		for cheat.sending.next < number {
			cheat.sending.chain, cheat.sending.next = kdfChain(cheat.sending.chain), cheat.sending.next+1
		}
		message := must[[]byte](t)(cheat.Encrypt(rand.Reader, []byte("hello"), nil))
		o := must[*Opening](t)(ReadFirst(c.bob, append(bytes.Clone(prefix), message...), []byte("ad")))
		if _, _, err := o.Accept(rand.Reader, c.alice.Public()); !errors.Is(err, ErrDamaged) {
			t.Errorf("number %d: got %v, want ErrDamaged", number, err)
		}
	}
}

func TestFirstLimits(t *testing.T) {
	c := &contact{alice: newIdentity(t), bob: newPrekeys(t, 1)}
	try := func(sender, payload int) ([]byte, error) {
		_, first, err := Initiate(rand.Reader, c.alice, make([]byte, sender), c.bob.Public(), make([]byte, payload), nil)
		return first, err
	}
	first, err := try(MaxSender, MaxPayload)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != MaxFirst {
		t.Fatalf("longest first message has %d bytes, want %d", len(first), MaxFirst)
	}
	// The front door's envelope has 16 KiB, some of them its own.
	if MaxFirst > 16<<10-256 || MaxPayload < 8<<10 {
		t.Fatal("limits do not fit the front door")
	}
	o := must[*Opening](t)(ReadFirst(c.bob, first, nil))
	if _, payload, err := o.Accept(rand.Reader, c.alice.Public()); err != nil || len(payload) != MaxPayload {
		t.Fatalf("payload of %d bytes, %v", len(payload), err)
	}
	for _, n := range [][2]int{{MaxSender + 1, 0}, {0, MaxPayload + 1}} {
		if _, err := try(n[0], n[1]); !errors.Is(err, ErrTooLong) {
			t.Errorf("%v: got %v, want ErrTooLong", n, err)
		}
	}
	if _, err := ReadFirst(c.bob, append(first, 0), nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

func TestUnusablePrekeys(t *testing.T) {
	good := newPrekeys(t, 1).Public()
	for name, spoil := range map[string]func(*Prekeys){
		"identity": func(p *Prekeys) { p.Identity = suite.DHPublic{} },
		"prekey":   func(p *Prekeys) { p.Signed = suite.DHPublic{} },
		"KEM":      func(p *Prekeys) { p.KEM = suite.KEMPublic(bytes.Repeat([]byte{0xff}, suite.KEMPublicSize)) },
	} {
		bad := good
		spoil(&bad)
		if _, _, err := Initiate(rand.Reader, newIdentity(t), nil, bad, nil, nil); !errors.Is(err, ErrPrekeys) {
			t.Errorf("%s: got %v, want ErrPrekeys", name, err)
		}
	}
}

func TestUnknownVersionsAreNamed(t *testing.T) {
	alice, c := newContact(t)
	c.first[0] = 9
	_, err := ReadFirst(c.bob, c.first, []byte("ad"))
	stored := alice.Encode()
	stored[0] = 9
	_, err2 := ParseSession(stored)
	_, err3 := parseHeader(bytes.Repeat([]byte{9}, headerSize))
	for what, err := range map[string]error{"first message": err, "session": err2, "message": err3} {
		var v *VersionError
		if !errors.As(err, &v) || v.Version != 9 || v.What != what {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// Two devices that write to one another at the same moment end with two
// sessions each, and agree on the one to go on with.
func TestSimultaneousFirstContacts(t *testing.T) {
	a, b := newPrekeys(t, 7), newPrekeys(t, 7)
	start := func(from, to PrekeySecrets) (*Session, []byte) {
		s, first, err := Initiate(rand.Reader, from.Identity, nil, to.Public(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s, first
	}
	accept := func(self PrekeySecrets, first []byte, from PrekeySecrets) *Session {
		s, _, err := must[*Opening](t)(ReadFirst(self, first, nil)).Accept(rand.Reader, from.Identity.Public())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ab, abFirst := start(a, b)
	ba, baFirst := start(b, a)
	atA, atB := accept(a, baFirst, b), accept(b, abFirst, a)
	lower := func(x, y *Session) *Session {
		xid, yid := x.ID(), y.ID()
		if bytes.Compare(xid[:], yid[:]) < 0 {
			return x
		}
		return y
	}
	sa, sb := lower(ab, atA), lower(ba, atB)
	if sa.ID() != sb.ID() {
		t.Fatal("the sides chose different sessions")
	}
	for range 3 {
		receive(t, sb, send(t, sa, "to b"), "to b")
		receive(t, sa, send(t, sb, "to a"), "to a")
	}
	// What went into the other session before the choice is still readable.
	receive(t, atB, send(t, ab, "early"), "early")
	receive(t, atA, send(t, ba, "early"), "early")
}
