package directory

import (
	"bytes"
	"fmt"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// MaxForks is how many proofs of forks are kept: one is enough to stop
	// trusting a key, and who holds it could make any number.
	MaxForks = 4
	// MaxFork bounds one proof.
	MaxFork = 1 + suite.VerifyKeySize + 2*(4+MaxSigned)
)

// Fork is the proof that a network's key signed two different documents of one
// serial (spec/directory.md §4.6): whoever has it can show it to anybody. It is
// an error that wraps ErrForked.
type Fork struct {
	Kept    *Directory // the one that was there first
	Refused *Directory
}

// Error implements error.
func (f *Fork) Error() string { return fmt.Sprintf("%v: %d", ErrForked, f.Kept.serial) }

// Unwrap returns ErrForked.
func (f *Fork) Unwrap() error { return ErrForked }

// Encode returns the bytes of the proof.
func (f *Fork) Encode() []byte {
	kept, refused := f.Kept.Signed(), f.Refused.Signed()
	b := make([]byte, 0, MaxFork-2*MaxSigned+len(kept)+len(refused))
	b = append(append(b, Version), f.Kept.key[:]...)
	return wire.AppendVec32(wire.AppendVec32(b, kept), refused)
}

// ParseFork reads what Encode writes, and verifies that it is a proof. Whose
// network it is about, the key of its directories says.
func ParseFork(b []byte) (*Fork, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return nil, fmt.Errorf("%w %d of a fork", ErrVersion, v)
	}
	var key suite.VerifyKey
	r.Fixed(key[:])
	signed := [2][]byte{r.Vec32(MaxSigned), r.Vec32(MaxSigned)}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: fork: %w", ErrInvalid, err)
	}
	var sides [2]*Directory
	for i, s := range signed {
		n, err := ParseSigned(key, s)
		if err != nil {
			return nil, err
		}
		if sides[i], err = n.Directory(); err != nil {
			return nil, err
		}
	}
	if !forks(sides[0], sides[1]) {
		return nil, fmt.Errorf("%w: fork: the documents do not contradict each other", ErrInvalid)
	}
	return &Fork{sides[0], sides[1]}, nil
}

// forks reports whether two directories of one key contradict each other.
func forks(a, b *Directory) bool {
	return sameNetwork(a, b) && a.serial == b.serial && !bytes.Equal(a.document, b.document)
}

func sameNetwork(a, b *Directory) bool {
	return a.key == b.key && a.name == b.name && a.created.Equal(b.created)
}
