package directory

import (
	"fmt"
	"slices"

	"sotto/internal/wire"
)

// Asking is what a node says when it asks another for directories: which ones
// it has (spec/directory.md §4.4).
type Asking struct {
	Serial uint64   // of its current one
	Past   []uint64 // of those that still matter to it, descending
}

// MaxAsking bounds an encoded Asking.
const MaxAsking = 1 + 8 + 1 + MaxPast*8

// AskingOf says what a source has.
func AskingOf(s Source) Asking {
	a := Asking{Serial: s.Current().serial}
	for _, d := range s.Past() {
		a.Past = append(a.Past, d.serial)
	}
	return a
}

// Encode returns the bytes of an Asking.
func (a Asking) Encode() []byte {
	b := wire.AppendUint64([]byte{Version}, a.Serial)
	b = append(b, byte(len(a.Past)))
	for _, s := range a.Past {
		b = wire.AppendUint64(b, s)
	}
	return b
}

// ParseAsking reads what Encode writes.
func ParseAsking(b []byte) (Asking, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return Asking{}, fmt.Errorf("%w %d of a question", ErrVersion, v)
	}
	a := Asking{Serial: r.Uint64()}
	n := int(r.Uint8())
	if n > MaxPast {
		return Asking{}, fmt.Errorf("%w: question names %d past directories", ErrInvalid, n)
	}
	last := a.Serial
	for range n {
		s := r.Uint64()
		if r.Err() == nil && s >= last {
			return Asking{}, fmt.Errorf("%w: past directories out of order", ErrInvalid)
		}
		last = s
		a.Past = append(a.Past, s)
	}
	if err := r.Finish(); err != nil {
		return Asking{}, fmt.Errorf("%w: question: %w", ErrInvalid, err)
	}
	return a, nil
}

// Lacks returns what of a source the asker has not, oldest first, so that it
// knows who kept mailboxes before a directory that it adopts: at most 1 + MaxPast.
func (a Asking) Lacks(s Source) (out []*Directory) {
	for _, d := range slices.Backward(append([]*Directory{s.Current()}, s.Past()...)) {
		if a.lacks(d.serial) {
			out = append(out, d)
		}
	}
	return out
}

// lacks reports whether the asker has no directory of a serial and would take it.
func (a Asking) lacks(serial uint64) bool {
	known := serial == a.Serial || slices.Contains(a.Past, serial)
	tooOld := len(a.Past) == MaxPast && serial < a.Past[MaxPast-1]
	return !known && !tooOld
}

// Ahead reports whether the asker has what a source lacks: a newer directory, or
// a past one. A node that joins has been given the newest one alone, and asks in
// vain for the others while nobody knows it yet.
func (a Asking) Ahead(s Source) bool {
	return slices.ContainsFunc(append([]uint64{a.Serial}, a.Past...), AskingOf(s).lacks)
}
