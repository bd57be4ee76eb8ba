package suite

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
)

// DHSize is the size of X25519 keys and shared secrets in bytes.
const DHSize = 32

// ErrLowOrder is returned for a public key whose shared secret is all zero.
var ErrLowOrder = errors.New("suite: X25519 public key of low order")

// DHPublic is an X25519 public key (RFC 7748).
type DHPublic [DHSize]byte

// DHPrivate is an X25519 private key. The zero value is unusable.
type DHPrivate struct {
	_ [0]func()
	k *ecdh.PrivateKey
}

// NewDHPrivate reads a fresh key from rand.
func NewDHPrivate(rand io.Reader) (DHPrivate, error) {
	var b [DHSize]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return DHPrivate{}, err
	}
	return DHPrivateFrom(b[:])
}

// DHPrivateFrom returns the private key whose scalar is b (32 bytes, clamped
// when it is used).
func DHPrivateFrom(b []byte) (DHPrivate, error) {
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return DHPrivate{}, fmt.Errorf("suite: X25519 private key: %w", err)
	}
	return DHPrivate{k: k}, nil
}

// Bytes returns the scalar, for storing it encrypted.
func (p DHPrivate) Bytes() []byte { return p.k.Bytes() }

// IsZero reports whether p is the unusable zero value.
func (p DHPrivate) IsZero() bool { return p.k == nil }

// Public returns the public key.
func (p DHPrivate) Public() DHPublic {
	return DHPublic(p.k.PublicKey().Bytes())
}

// Shared returns the 32-byte X25519 shared secret with pub, or ErrLowOrder.
func (p DHPrivate) Shared(pub DHPublic) ([]byte, error) {
	remote, err := ecdh.X25519().NewPublicKey(pub[:])
	if err != nil {
		return nil, fmt.Errorf("suite: X25519 public key: %w", err)
	}
	out, err := p.k.ECDH(remote)
	if err != nil {
		return nil, ErrLowOrder
	}
	return out, nil
}

// String hides the key from formatted output.
func (DHPrivate) String() string { return "[X25519 private key]" }

// Format hides the key from every verb, those for numbers included.
func (DHPrivate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[X25519 private key]") }
