package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"testing"

	"sotto/internal/suite"
)

// seeded returns reproducible bytes for a name.
func seeded(name string) io.Reader {
	return mathrand.NewChaCha8(suite.Hash(suite.LabelPrefix+"test/seed", []byte(name)))
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newIdentity(t testing.TB) suite.DHPrivate {
	return must[suite.DHPrivate](t)(suite.NewDHPrivate(rand.Reader))
}

func newPrekeys(t testing.TB, period uint64) PrekeySecrets {
	return PrekeySecrets{
		Identity: newIdentity(t),
		Signed:   newIdentity(t),
		KEM:      must[suite.KEMPrivate](t)(suite.NewKEMPrivate(rand.Reader)),
		Period:   period,
	}
}

// contact is a first contact from alice to bob.
type contact struct {
	alice suite.DHPrivate
	bob   PrekeySecrets
	first []byte
}

func newContact(t testing.TB) (*Session, *contact) { return newContactFrom(t, rand.Reader) }

func (c *contact) accept(t testing.TB) *Session {
	s, _, err := must[*Opening](t)(ReadFirst(c.bob, c.first, []byte("ad"))).Accept(rand.Reader, c.alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newPair returns both sides after the first message.
func newPair(t testing.TB) (alice, bob *Session) {
	alice, c := newContact(t)
	return alice, c.accept(t)
}

func send(t testing.TB, s *Session, text string) []byte {
	t.Helper()
	return must[[]byte](t)(s.Encrypt(rand.Reader, []byte(text), []byte("ad")))
}

func receive(t testing.TB, s *Session, msg []byte, want string) {
	t.Helper()
	got, err := s.Decrypt(msg, []byte("ad"))
	if err != nil {
		t.Fatalf("message %q: %v", want, err)
	}
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// refuse checks that msg fails with want and changes nothing.
func refuse(t testing.TB, s *Session, msg []byte, want error) {
	t.Helper()
	refuseAD(t, s, msg, []byte("ad"), want)
}

func refuseAD(t testing.TB, s *Session, msg, ad []byte, want error) {
	t.Helper()
	before := s.Encode()
	if _, err := s.Decrypt(msg, ad); !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if !bytes.Equal(before, s.Encode()) {
		t.Fatalf("refusing with %v changed the session", want)
	}
}

// reload is what a restart does to a session.
func reload(t testing.TB, s *Session) *Session {
	t.Helper()
	stored := s.Encode()
	again := must[*Session](t)(ParseSession(stored))
	if !bytes.Equal(again.Encode(), stored) {
		t.Fatal("a stored session reads differently")
	}
	return again
}

// fixedEncapsulate encapsulates with the next 32 bytes of rand.
func fixedEncapsulate(rand io.Reader) encapsulator {
	return func(k suite.KEMPublic) (shared, ciphertext []byte, err error) {
		ek, err := mlkem.NewEncapsulationKey768(k[:])
		if err != nil {
			return nil, nil, err
		}
		m := make([]byte, 32)
		if _, err := io.ReadFull(rand, m); err != nil {
			return nil, nil, err
		}
		return mlkemtest.Encapsulate768(ek, m)
	}
}

// newContactFrom is newContact with reproducible keys, which the processes of a
// fuzz run share.
func newContactFrom(t testing.TB, r io.Reader) (*Session, *contact) {
	dh := func() suite.DHPrivate { return must[suite.DHPrivate](t)(suite.NewDHPrivate(r)) }
	c := &contact{alice: dh()}
	c.bob = PrekeySecrets{
		Identity: dh(),
		Signed:   dh(),
		KEM:      must[suite.KEMPrivate](t)(suite.NewKEMPrivate(r)),
		Period:   7,
	}
	s, first, err := initiate(r, fixedEncapsulate(r), c.alice, []byte("alice"), c.bob.Public(), []byte("hello"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	c.first = first
	return s, c
}
