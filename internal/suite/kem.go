package suite

import (
	"crypto/mlkem"
	"fmt"
	"io"
)

const (
	// KEMPublicSize is the size of an ML-KEM-768 encapsulation key in bytes.
	KEMPublicSize = mlkem.EncapsulationKeySize768
	// KEMCiphertextSize is the size of an ML-KEM-768 ciphertext in bytes.
	KEMCiphertextSize = mlkem.CiphertextSize768
	// KEMSeedSize is the size of an ML-KEM-768 private seed in bytes.
	KEMSeedSize = mlkem.SeedSize
)

// KEMPublic is an ML-KEM-768 encapsulation key (FIPS 203).
type KEMPublic [KEMPublicSize]byte

// KEMPrivate is an ML-KEM-768 decapsulation key. The zero value is unusable.
type KEMPrivate struct {
	_ [0]func()
	k *mlkem.DecapsulationKey768
}

// NewKEMPrivate reads a fresh key's seed from rand.
func NewKEMPrivate(rand io.Reader) (KEMPrivate, error) {
	var seed [KEMSeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return KEMPrivate{}, err
	}
	return KEMPrivateFrom(seed[:])
}

// KEMPrivateFrom returns the key with the given 64-byte seed (d ‖ z).
func KEMPrivateFrom(seed []byte) (KEMPrivate, error) {
	k, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return KEMPrivate{}, fmt.Errorf("suite: ML-KEM-768 seed: %w", err)
	}
	return KEMPrivate{k: k}, nil
}

// Bytes returns the 64-byte seed, for storing it encrypted.
func (p KEMPrivate) Bytes() []byte { return p.k.Bytes() }

// IsZero reports whether p is the unusable zero value.
func (p KEMPrivate) IsZero() bool { return p.k == nil }

// Public returns the encapsulation key.
func (p KEMPrivate) Public() KEMPublic {
	return KEMPublic(p.k.EncapsulationKey().Bytes())
}

// Decapsulate returns the 32-byte shared secret of ciphertext. A ciphertext
// made for another key gives an unrelated secret (implicit rejection); only
// one of the wrong size is an error.
func (p KEMPrivate) Decapsulate(ciphertext []byte) ([]byte, error) {
	ss, err := p.k.Decapsulate(ciphertext)
	if err != nil {
		return nil, fmt.Errorf("suite: ML-KEM-768: %w", err)
	}
	return ss, nil
}

// String hides the key from formatted output.
func (KEMPrivate) String() string { return "[ML-KEM-768 private key]" }

// Format hides the key from every verb, those for numbers included.
func (KEMPrivate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[ML-KEM-768 private key]") }

// Encapsulate returns a fresh 32-byte shared secret and its ciphertext. The
// randomness is the operating system's (crypto/mlkem takes no other). It fails
// when the key is not a valid encapsulation key (FIPS 203, §7.2).
func (k KEMPublic) Encapsulate() (shared, ciphertext []byte, err error) {
	ek, err := mlkem.NewEncapsulationKey768(k[:])
	if err != nil {
		return nil, nil, fmt.Errorf("suite: ML-KEM-768 public key: %w", err)
	}
	shared, ciphertext = ek.Encapsulate()
	return shared, ciphertext, nil
}
