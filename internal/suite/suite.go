// Package suite is the one place where Sotto's protocols take their
// primitives from: labels, hashing, key derivation, authenticated encryption,
// and the key types of X25519, Ed25519 and ML-KEM-768.
//
// It fixes the algorithms and their encodings (spec/conventions.md) and keeps
// private keys opaque; it knows no protocol. Randomness is always the caller's.
package suite

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// KeySize is the size of a symmetric key in bytes.
	KeySize = chacha20poly1305.KeySize
	// NonceSize is the size of an XChaCha20-Poly1305 nonce in bytes.
	NonceSize = chacha20poly1305.NonceSizeX
	// TagSize is what Seal adds to a plaintext, in bytes.
	TagSize = chacha20poly1305.Overhead
	// HashSize is the size of Hash's output in bytes.
	HashSize = sha256.Size
)

// ErrOpen is returned when a ciphertext is not authentic under the given key,
// nonce and additional data. It says nothing more on purpose.
var ErrOpen = errors.New("suite: ciphertext not authentic")

// Key is a symmetric key of one use. It formats as a placeholder so that it
// cannot reach a log, and cannot be compared with ==.
type Key struct {
	_ [0]func()
	k [KeySize]byte
}

// KeyFrom returns the key whose bytes are b, which must be KeySize long.
func KeyFrom(b []byte) (Key, error) {
	var k Key
	if len(b) != KeySize {
		return k, fmt.Errorf("suite: symmetric key of %d bytes, want %d", len(b), KeySize)
	}
	copy(k.k[:], b)
	return k, nil
}

// NewKey reads a fresh key from rand.
func NewKey(rand io.Reader) (Key, error) {
	var k Key
	_, err := io.ReadFull(rand, k.k[:])
	return k, err
}

// Bytes returns a copy of the key, for storing it or deriving from it.
func (k Key) Bytes() []byte { return append([]byte(nil), k.k[:]...) }

// Equal compares in constant time.
func (k Key) Equal(o Key) bool { return subtle.ConstantTimeCompare(k.k[:], o.k[:]) == 1 }

// Erase overwrites the key with zeros.
func (k *Key) Erase() { clear(k.k[:]) }

// String hides the key from formatted output.
func (Key) String() string { return "[key]" }

// Format hides the key from every verb, those for numbers included.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// Hash returns SHA-256 over the label and the parts, each behind its length,
// so that no two lists of parts collide (spec/conventions.md §3.1).
func Hash(label Label, parts ...[]byte) [HashSize]byte {
	h := sha256.New()
	var n [8]byte
	write := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	write([]byte(label))
	for _, p := range parts {
		write(p)
	}
	var out [HashSize]byte
	h.Sum(out[:0])
	return out
}

// Derive returns n bytes (at most 8,160) of HKDF-SHA-256 (RFC 5869) from
// secret, without salt, for the label and the parts of info
// (spec/conventions.md §3.2).
func Derive(secret []byte, label Label, n int, info ...[]byte) []byte {
	h := Hash(label, info...)
	out, err := hkdf.Key(sha256.New, secret, nil, string(h[:]), n)
	if err != nil {
		// Only n > 255*32 fails, and every caller's n is a constant below it.
		panic("suite: Derive: " + err.Error())
	}
	return out
}

// DeriveKey is Derive for one symmetric key.
func DeriveKey(secret []byte, label Label, info ...[]byte) Key {
	var k Key
	copy(k.k[:], Derive(secret, label, KeySize, info...))
	return k
}

// PRF returns HMAC-SHA-256 of the label under a key that is uniform already:
// the step of a key chain, at a third of Derive's price
// (spec/conventions.md §3.4).
func PRF(key Key, label Label) Key {
	h := hmac.New(sha256.New, key.k[:])
	h.Write([]byte(label))
	var out Key
	h.Sum(out.k[:0])
	return out
}

// Seal appends the XChaCha20-Poly1305 encryption of plaintext to dst. The
// nonce has NonceSize bytes and is used once with this key.
func Seal(dst []byte, key Key, nonce, plaintext, ad []byte) []byte {
	aead, err := chacha20poly1305.NewX(key.k[:])
	if err != nil {
		panic("suite: Seal: " + err.Error()) // the key's size is right by its type
	}
	return aead.Seal(dst, nonce, plaintext, ad)
}

// Open appends the decryption of ciphertext to dst, or returns ErrOpen.
func Open(dst []byte, key Key, nonce, ciphertext, ad []byte) ([]byte, error) {
	if len(nonce) != NonceSize {
		return nil, ErrOpen
	}
	aead, err := chacha20poly1305.NewX(key.k[:])
	if err != nil {
		panic("suite: Open: " + err.Error()) // the key's size is right by its type
	}
	out, err := aead.Open(dst, nonce, ciphertext, ad)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// SealRandom prepends a nonce from rand to Seal's output.
func SealRandom(rand io.Reader, key Key, plaintext, ad []byte) ([]byte, error) {
	out := make([]byte, NonceSize, NonceSize+len(plaintext)+TagSize)
	if _, err := io.ReadFull(rand, out); err != nil {
		return nil, err
	}
	return Seal(out, key, out[:NonceSize], plaintext, ad), nil
}

// OpenRandom opens what SealRandom made.
func OpenRandom(key Key, sealed, ad []byte) ([]byte, error) {
	if len(sealed) < NonceSize+TagSize {
		return nil, ErrOpen
	}
	return Open(nil, key, sealed[:NonceSize], sealed[NonceSize:], ad)
}
