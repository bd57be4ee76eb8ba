package ratchet

import (
	"bytes"
	"testing"

	"sotto/internal/suite"
)

func FuzzFirst(f *testing.F) {
	_, c := newContactFrom(f, seeded("fuzz"))
	f.Add(c.first)
	f.Add(c.first[:firstFixed])
	f.Add(c.first[:len(c.first)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ReadFirst(c.bob, b, []byte("ad"))
		if err != nil {
			return
		}
		if _, _, err = o.Accept(nil, c.alice.Public()); err == nil && !bytes.Equal(b, c.first) {
			t.Fatal("a forged first message was accepted")
		}
	})
}

func FuzzHeader(f *testing.F) {
	h := header{epoch: 1, previous: 2, number: 3}
	f.Add(h.encode())
	f.Add(h.encode()[1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err == nil && !bytes.Equal(h.encode(), b) {
			t.Fatalf("%x reads as %x", b, h.encode())
		}
	})
}

// FuzzMessage feeds a session messages, and headers and bodies that its peer
// might have sealed.
func FuzzMessage(f *testing.F) {
	r := seeded("fuzz")
	alice, c := newContactFrom(f, r)
	bob := c.accept(f)
	seal := func(s *Session) []byte { return must[[]byte](f)(s.Encrypt(r, []byte("m"), []byte("ad"))) }
	seal(alice) // lost
	receive(f, bob, seal(alice), "m")
	receive(f, alice, seal(bob), "m")
	msg := seal(alice)
	stored := bob.Encode()
	h := header{ratchet: alice.sending.public, previous: 3}
	f.Add(msg, []byte{})
	f.Add(msg[:Overhead-1], []byte{})
	f.Add([]byte{}, h.encode())
	f.Fuzz(func(t *testing.T, b, sealed []byte) {
		s := must[*Session](t)(ParseSession(stored))
		if len(sealed) == headerSize {
			nonce := make([]byte, suite.NonceSize)
			b = suite.Seal(nonce, alice.sending.header, nonce, sealed, alice.id[:])
			b = append(b, make([]byte, suite.TagSize)...)
		}
		if _, err := s.Decrypt(b, []byte("ad")); err != nil && !bytes.Equal(stored, s.Encode()) {
			t.Fatalf("%v changed the session", err)
		}
	})
}

func FuzzSession(f *testing.F) {
	r := seeded("fuzz")
	alice, c := newContactFrom(f, r)
	bob := c.accept(f)
	seal := func(s *Session) []byte { return must[[]byte](f)(s.Encrypt(r, []byte("m"), []byte("ad"))) }
	f.Add(alice.Encode())
	f.Add(bob.Encode())
	seal(alice) // lost
	receive(f, bob, seal(alice), "m")
	receive(f, alice, seal(bob), "m")
	receive(f, bob, seal(alice), "m")
	f.Add(bob.Encode())
	msg := seal(alice)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSession(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Fatal("a session reads differently")
		}
		// Whatever was stored, using it does not panic.
		s.Decrypt(msg, []byte("ad"))
		s.Encrypt(bytes.NewReader(make([]byte, 64)), nil, nil)
		reload(t, s)
	})
}
