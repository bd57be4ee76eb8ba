package suite

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
)

const (
	// VerifyKeySize is the size of an Ed25519 public key in bytes.
	VerifyKeySize = ed25519.PublicKeySize
	// SignatureSize is the size of an Ed25519 signature in bytes.
	SignatureSize = ed25519.SignatureSize
	// SigningSeedSize is the size of an Ed25519 private seed in bytes.
	SigningSeedSize = ed25519.SeedSize
)

// VerifyKey is an Ed25519 public key (RFC 8032).
type VerifyKey [VerifyKeySize]byte

// Signature is an Ed25519 signature.
type Signature [SignatureSize]byte

// Signer signs under a label; SigningKey and identity.BlindedKey are the two.
type Signer interface {
	Public() VerifyKey
	Sign(label Label, message []byte) Signature
}

// SigningKey is an Ed25519 private key. The zero value is unusable.
type SigningKey struct {
	_ [0]func()
	k ed25519.PrivateKey
}

// NewSigningKey reads a fresh key from rand.
func NewSigningKey(rand io.Reader) (SigningKey, error) {
	var seed [SigningSeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return SigningKey{}, err
	}
	return SigningKeyFrom(seed[:])
}

// SigningKeyFrom returns the key with the given 32-byte seed.
func SigningKeyFrom(seed []byte) (SigningKey, error) {
	if len(seed) != SigningSeedSize {
		return SigningKey{}, fmt.Errorf("suite: Ed25519 seed of %d bytes, want %d", len(seed), SigningSeedSize)
	}
	return SigningKey{k: ed25519.NewKeyFromSeed(seed)}, nil
}

// Seed returns the 32-byte seed, for storing it.
func (s SigningKey) Seed() []byte { return s.k.Seed() }

// IsZero reports whether s is the unusable zero value.
func (s SigningKey) IsZero() bool { return s.k == nil }

// Public returns the public key.
func (s SigningKey) Public() VerifyKey { return VerifyKey(s.k[32:]) }

// Sign signs message under label (spec/conventions.md §3.3).
func (s SigningKey) Sign(label Label, message []byte) Signature {
	return Signature(ed25519.Sign(s.k, SignedBytes(label, message)))
}

// Ed25519 returns the standard library's form, for TLS certificates.
func (s SigningKey) Ed25519() ed25519.PrivateKey { return s.k }

// String hides the key from formatted output.
func (SigningKey) String() string { return "[Ed25519 private key]" }

// Format hides the key from every verb, those for numbers included.
func (SigningKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[Ed25519 private key]") }

// SignedBytes is what a signature under label covers: the label's length in
// one byte, the label, the message. Labels are constants shorter than 256.
func SignedBytes(label Label, message []byte) []byte {
	out := make([]byte, 0, 1+len(label)+len(message))
	out = append(out, byte(len(label)))
	out = append(out, label...)
	return append(out, message...)
}

// Verify reports whether sig is k's signature over message under label.
func (k VerifyKey) Verify(label Label, message []byte, sig Signature) bool {
	return ed25519.Verify(k[:], SignedBytes(label, message), sig[:])
}

// String returns the key in hex.
func (k VerifyKey) String() string { return hex.EncodeToString(k[:]) }
