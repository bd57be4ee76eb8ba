package ratchet

import (
	"fmt"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	headerSize       = 1 + 4 + suite.DHSize + 4 + 4
	sealedHeaderSize = headerSize + suite.TagSize
)

// header is a message's header before it is sealed (spec/session.md §4.2).
type header struct {
	epoch    uint32         // how many post-quantum secrets the root key holds
	ratchet  suite.DHPublic // the sender's ratchet key
	previous uint32         // PN: length of the sender's previous chain
	number   uint32         // N: the message's place in its chain
}

func (h *header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, Version)
	b = wire.AppendUint32(b, h.epoch)
	b = append(b, h.ratchet[:]...)
	b = wire.AppendUint32(b, h.previous)
	return wire.AppendUint32(b, h.number)
}

func parseHeader(b []byte) (*header, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return nil, &VersionError{What: "message", Version: v}
	}
	h := &header{epoch: r.Uint32()}
	r.Fixed(h.ratchet[:])
	h.previous, h.number = r.Uint32(), r.Uint32()
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	return h, nil
}

// parts are the fields of a message (spec/session.md §4.2). Header and body
// share the nonce: their keys are different ones.
type parts struct {
	nonce, header, body []byte
	prefix              []byte // nonce ‖ header, which the body authenticates
}

func splitMessage(msg []byte) (parts, error) {
	if len(msg) < Overhead || len(msg) > MaxPayload+Overhead {
		return parts{}, fmt.Errorf("%w: message of %d bytes", ErrMalformed, len(msg))
	}
	const end = suite.NonceSize + sealedHeaderSize
	return parts{
		nonce:  msg[:suite.NonceSize],
		header: msg[suite.NonceSize:end],
		body:   msg[end:],
		prefix: msg[:end],
	}, nil
}

// bodyAD binds a body to its session, its header and what the caller gave. The
// first two have fixed lengths, so that no two lists agree.
func bodyAD(id [suite.HashSize]byte, prefix, ad []byte) []byte {
	out := make([]byte, 0, len(id)+len(prefix)+len(ad))
	out = append(out, id[:]...)
	out = append(out, prefix...)
	return append(out, ad...)
}
