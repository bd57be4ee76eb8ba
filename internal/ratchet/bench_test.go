package ratchet

import (
	"crypto/rand"
	"testing"

	"sotto/internal/suite"
)

var key = make([]byte, suite.KeySize)

// exchange is one message, written and read.
func exchange(b *testing.B, from, to *Session) {
	msg, err := from.Encrypt(rand.Reader, key, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := to.Decrypt(msg, nil); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkX25519 is the yardstick of the others.
func BenchmarkX25519(b *testing.B) {
	k, pub := newIdentity(b), newIdentity(b).Public()
	for b.Loop() {
		if _, err := k.Shared(pub); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAlternating is a message with a ratchet step, written and read.
func BenchmarkAlternating(b *testing.B) {
	x, y := newPair(b)
	for b.Loop() {
		exchange(b, x, y)
		x, y = y, x
	}
	b.ReportMetric(Overhead, "overhead-bytes")
}

// BenchmarkOneWay is a message of a running chain, written and read.
func BenchmarkOneWay(b *testing.B) {
	x, y := newPair(b)
	for b.Loop() {
		exchange(b, x, y)
	}
}

// BenchmarkSetup is a first contact on both sides.
func BenchmarkSetup(b *testing.B) {
	alice, bob := newIdentity(b), newPrekeys(b, 1)
	pub := bob.Public()
	for b.Loop() {
		_, first, err := Initiate(rand.Reader, alice, key, pub, key, nil)
		if err != nil {
			b.Fatal(err)
		}
		o, err := ReadFirst(bob, first, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := o.Accept(rand.Reader, alice.Public()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJump is a message as far ahead as is accepted.
func BenchmarkJump(b *testing.B) {
	x, y := newPair(b)
	discard(b, x, MaxJump)
	stored := y.Encode()
	msg, err := x.Encrypt(rand.Reader, key, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		y, _ := ParseSession(stored)
		if _, err := y.Decrypt(msg, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStore is Encode and ParseSession of a session without gaps.
func BenchmarkStore(b *testing.B) {
	_, y := newPair(b)
	for b.Loop() {
		if _, err := ParseSession(y.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}
