package mailbox

import (
	"fmt"
	"io"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// PQFieldSize is the size of the field for the post-quantum step: an
	// ML-KEM-768 key, or a ciphertext, and what else a step says.
	PQFieldSize = 1216
	// MaxSlots is how many devices of the recipient an envelope serves.
	MaxSlots = 8
	// MaxSlot is the size of a wrapped key at most.
	MaxSlot = 256
	// MaxFirst is how many bytes a first contact has.
	MaxFirst = FirstClass - envelopeOverhead - 4
	// MaxBody is how many bytes the body of an envelope with all its slots has.
	MaxBody = MaxEnvelope - envelopeOverhead - envelopeFixed - MaxSlots*(2+MaxSlot)

	envelopeOverhead = 1 + suite.NonceSize + suite.TagSize
	envelopeFixed    = PQFieldSize + 1 + 4
)

// Envelope is what a conversation's mailbox holds: the field that carries a
// post-quantum step or noise, one wrapped message key for each device of the
// recipient, and the body under that key (spec/mailbox.md §4.8).
type Envelope struct {
	PQ    [PQFieldSize]byte
	Slots [][]byte
	Body  []byte
}

// SealEnvelope encrypts an envelope under a mailbox's key for addr, padded to
// the smallest class that holds it.
func SealEnvelope(rand io.Reader, key suite.Key, addr Address, e *Envelope) ([]byte, error) {
	if len(e.Slots) > MaxSlots {
		return nil, fmt.Errorf("%d slots: %w", len(e.Slots), ErrTooLarge)
	}
	inner := append(make([]byte, 0, envelopeFixed+len(e.Body)), e.PQ[:]...)
	inner = append(inner, byte(len(e.Slots)))
	for _, s := range e.Slots {
		if len(s) > MaxSlot {
			return nil, fmt.Errorf("slot of %d bytes: %w", len(s), ErrTooLarge)
		}
		inner = wire.AppendVec16(inner, s)
	}
	inner = wire.AppendVec32(inner, e.Body)
	class, err := ClassFor(envelopeOverhead + len(inner))
	if err != nil {
		return nil, err
	}
	return sealOuter(rand, key, labelEnvelope, addr, inner, class)
}

// OpenEnvelope opens what SealEnvelope made. Byte slices are the caller's.
func OpenEnvelope(key suite.Key, addr Address, sealed []byte) (*Envelope, error) {
	r, err := openOuter(key, labelEnvelope, addr, sealed)
	if err != nil {
		return nil, err
	}
	e := &Envelope{}
	r.Fixed(e.PQ[:])
	n := int(r.Uint8())
	if n > MaxSlots {
		return nil, malformed("envelope", wire.ErrTooLong)
	}
	for range n {
		e.Slots = append(e.Slots, r.Vec16(MaxSlot))
	}
	e.Body = r.Vec32(MaxEnvelope)
	if err := finishPadded(r, "envelope"); err != nil {
		return nil, err
	}
	return e, nil
}

// SealFirst encrypts a first contact under a front door's key for addr, as
// FirstClass bytes.
func SealFirst(rand io.Reader, key suite.Key, addr Address, first []byte) ([]byte, error) {
	if len(first) > MaxFirst {
		return nil, fmt.Errorf("first contact of %d bytes, at most %d: %w", len(first), MaxFirst, ErrTooLarge)
	}
	return sealOuter(rand, key, labelFirst, addr, wire.AppendVec32(nil, first), FirstClass)
}

// OpenFirst opens what SealFirst made.
func OpenFirst(key suite.Key, addr Address, sealed []byte) ([]byte, error) {
	if len(sealed) != FirstClass {
		return nil, fmt.Errorf("first contact of %d bytes: %w", len(sealed), ErrFormat)
	}
	r, err := openOuter(key, labelFirst, addr, sealed)
	if err != nil {
		return nil, err
	}
	first := r.Vec32(MaxFirst)
	if err := finishPadded(r, "first contact"); err != nil {
		return nil, err
	}
	return first, nil
}

func sealOuter(rand io.Reader, key suite.Key, label suite.Label, addr Address, inner []byte, class int) ([]byte, error) {
	padded := make([]byte, class-envelopeOverhead)
	copy(padded, inner)
	out := make([]byte, 1+suite.NonceSize, class)
	out[0] = version
	if _, err := io.ReadFull(rand, out[1:]); err != nil {
		return nil, err
	}
	return suite.Seal(out, key, out[1:1+suite.NonceSize], padded, outerAD(label, addr)), nil
}

func openOuter(key suite.Key, label suite.Label, addr Address, sealed []byte) (*wire.Reader, error) {
	r := wire.NewReader(sealed)
	if err := readVersion(r, "envelope"); err != nil {
		return nil, err
	}
	if !IsClass(len(sealed)) {
		return nil, fmt.Errorf("envelope of %d bytes: %w", len(sealed), ErrFormat)
	}
	nonce, ct := r.Bytes(suite.NonceSize), r.Rest()
	inner, err := suite.Open(nil, key, nonce, ct, outerAD(label, addr))
	if err != nil {
		return nil, ErrOpen
	}
	return wire.NewReader(inner), nil
}

func outerAD(label suite.Label, addr Address) []byte {
	h := suite.Hash(label, []byte{version}, addr[:])
	return h[:]
}

func finishPadded(r *wire.Reader, what string) error {
	padding := r.Rest()
	if err := finish(r, what); err != nil {
		return err
	}
	if !allZero(padding) {
		return malformed(what, errNonZero)
	}
	return nil
}

// SealBody encrypts a message's body under its own key, which is used for
// nothing else.
func SealBody(rand io.Reader, key suite.Key, body, ad []byte) ([]byte, error) {
	return suite.SealRandom(rand, key, body, bodyAD(ad))
}

// OpenBody opens what SealBody made.
func OpenBody(key suite.Key, sealed, ad []byte) ([]byte, error) {
	out, err := suite.OpenRandom(key, sealed, bodyAD(ad))
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

func bodyAD(ad []byte) []byte {
	h := suite.Hash(labelBody, ad)
	return h[:]
}
