package ratchet

import (
	"fmt"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	firstFixed    = 1 + 8 + suite.DHSize + suite.KEMCiphertextSize
	firstOverhead = firstFixed + 2 + suite.TagSize + Overhead
)

// first is a first message (spec/session.md §4.1).
type first struct {
	period     uint64
	ephemeral  suite.DHPublic
	ciphertext []byte // ML-KEM-768
	sender     []byte // sealed
	message    []byte // the session's message 0 of chain 0
}

// encode leaves out the message, which is made last.
func (f *first) encode() []byte {
	b := make([]byte, 0, MaxFirst)
	b = append(b, Version)
	b = wire.AppendUint64(b, f.period)
	b = append(b, f.ephemeral[:]...)
	b = append(b, f.ciphertext...)
	return wire.AppendVec16(b, f.sender)
}

func parseFirst(b []byte) (*first, error) {
	if len(b) > MaxFirst {
		return nil, fmt.Errorf("%w: first message of %d bytes", ErrMalformed, len(b))
	}
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return nil, &VersionError{What: "first message", Version: v}
	}
	f := &first{period: r.Uint64()}
	r.Fixed(f.ephemeral[:])
	f.ciphertext = r.Bytes(suite.KEMCiphertextSize)
	f.sender = r.Vec16(MaxSender + suite.TagSize)
	f.message = r.Rest()
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: first message: %w", ErrMalformed, err)
	}
	if _, err := splitMessage(f.message); err != nil {
		return nil, err
	}
	return f, nil
}

// FirstPeriod returns the period whose prekeys a first message was made for,
// so that the caller can look them up.
func FirstPeriod(message []byte) (uint64, error) {
	f, err := parseFirst(message)
	if err != nil {
		return 0, err
	}
	return f.period, nil
}

// FirstDigest identifies a first message in the record of those accepted. The
// record is kept as long as the period's prekeys, after which a replay cannot
// be opened any more. No byte of a first message can be changed without its
// being refused, so a replay has the same digest (spec/session.md §5.2).
func FirstDigest(message []byte) [suite.HashSize]byte { return suite.Hash(labelDigest, message) }
