package identity

import (
	"encoding/binary"
	"fmt"
	"io"

	"sotto/internal/suite"
)

// SeedSize is the size of a Seed in bytes: 24 words of BIP-39 say 256 bits.
const SeedSize = 32

// Seed is the secret from which every key of an account is derived. The zero
// value is no account's.
type Seed struct {
	_ [0]func()
	b [SeedSize]byte
}

// NewSeed reads a fresh seed from rand.
func NewSeed(rand io.Reader) (Seed, error) {
	var s Seed
	_, err := io.ReadFull(rand, s.b[:])
	return s, err
}

// SeedFromBytes returns the seed whose bytes are b.
func SeedFromBytes(b []byte) (Seed, error) {
	var s Seed
	if len(b) != SeedSize {
		return s, fmt.Errorf("%w: %d bytes, want %d", ErrSeed, len(b), SeedSize)
	}
	copy(s.b[:], b)
	return s, nil
}

// Bytes returns a copy of the seed, for storing it encrypted.
func (s Seed) Bytes() []byte { return append([]byte(nil), s.b[:]...) }

// Erase overwrites the seed with zeros.
func (s *Seed) Erase() { clear(s.b[:]) }

// String hides the seed from formatted output.
func (Seed) String() string { return "[seed]" }

// Format hides the seed from every verb.
func (Seed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[seed]") }

// Persona derives the keys of the account's n-th face (spec/identity.md §5.1).
// Personas of one seed cannot be told from those of two.
func (s Seed) Persona(n uint32) *Persona {
	index := binary.BigEndian.AppendUint32(nil, n)
	dh, err := suite.DHPrivateFrom(suite.Derive(s.b[:], labelPersonaIdentity, suite.DHSize, index))
	if err != nil {
		panic("identity: Persona: " + err.Error()) // 32 bytes are always an X25519 scalar
	}
	return &Persona{
		root:     newBlindableKey(suite.Derive(s.b[:], labelPersonaRoot, suite.SigningSeedSize, index)),
		base:     newBlindableKey(suite.Derive(s.b[:], labelPersonaBase, suite.SigningSeedSize, index)),
		identity: dh,
	}
}

// Persona is a face of an account: keys of its own, and nothing shared with
// another persona of the same seed.
type Persona struct {
	root, base *BlindableKey
	identity   suite.DHPrivate
}

// Root returns the key that the account ID names. It stays on the primary
// device, blinded or not.
func (p *Persona) Root() *BlindableKey { return p.root }

// Base returns the key whose blindings own the persona's conversation mailboxes.
func (p *Persona) Base() *BlindableKey { return p.base }

// Identity returns the primary device's X25519 identity key.
func (p *Persona) Identity() suite.DHPrivate { return p.identity }

// ID returns the account ID that names this persona.
func (p *Persona) ID() AccountID { return AccountID{Root: p.root.public} }
