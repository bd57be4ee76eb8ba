// Package wire reads and appends the fixed layouts of Sotto's formats: a
// bounded reader that remembers its first error, appenders for length-prefixed
// fields, and length-prefixed frames on a stream.
//
// It knows no format itself; each document in spec/ names its fields, and the
// package that implements the document lays them out with these functions. All
// integers are big-endian (spec/conventions.md §2).
package wire

import (
	"encoding/binary"
	"errors"
)

var (
	// ErrShort is returned when a field reaches past the end of the input.
	ErrShort = errors.New("wire: input too short")
	// ErrTrailing is returned when bytes remain after the last field.
	ErrTrailing = errors.New("wire: trailing bytes")
	// ErrTooLong is returned when a length prefix exceeds the field's bound.
	ErrTooLong = errors.New("wire: field too long")
)

// Reader takes fields from the front of a byte slice. The first failure
// sticks: every later call returns zero values, so that a parser reads all its
// fields and asks once, with Finish. Returned slices alias the input.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a Reader over b, which it neither copies nor changes.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first error met.
func (r *Reader) Err() error { return r.err }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Finish returns the first error met, or ErrTrailing if bytes are left.
func (r *Reader) Finish() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = ErrTrailing
	}
	return r.err
}

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// Bytes returns the next n bytes, or nil after an error.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.fail(ErrShort)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Rest returns all bytes that are left.
func (r *Reader) Rest() []byte { return r.Bytes(len(r.b)) }

// Fixed fills dst with the next len(dst) bytes.
func (r *Reader) Fixed(dst []byte) { copy(dst, r.Bytes(len(dst))) }

// Uint8 returns the next byte.
func (r *Reader) Uint8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 returns the next 2 bytes as an integer.
func (r *Reader) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint32 returns the next 4 bytes as an integer.
func (r *Reader) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 returns the next 8 bytes as an integer.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Vec8 returns a field behind a 1-byte length of at most limit.
func (r *Reader) Vec8(limit int) []byte { return r.vec(int(r.Uint8()), limit) }

// Vec16 returns a field behind a 2-byte length of at most limit.
func (r *Reader) Vec16(limit int) []byte { return r.vec(int(r.Uint16()), limit) }

// Vec32 returns a field behind a 4-byte length of at most limit.
func (r *Reader) Vec32(limit int) []byte {
	n := r.Uint32()
	if uint64(n) > uint64(limit) {
		r.fail(ErrTooLong)
		return nil
	}
	return r.vec(int(n), limit)
}

func (r *Reader) vec(n, limit int) []byte {
	if r.err != nil {
		return nil
	}
	if n > limit {
		r.fail(ErrTooLong)
		return nil
	}
	return r.Bytes(n)
}
