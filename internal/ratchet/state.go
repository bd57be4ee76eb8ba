package ratchet

import (
	"fmt"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

// The states and chain kinds of a stored session (spec/session.md §4.3).
const (
	stateDue     = 1
	stateSending = 2

	chainOpen   = 1
	chainClosed = 2
)

// Encode returns the session for the vault. It holds every secret of the
// session in the clear.
func (s *Session) Encode() []byte {
	b := []byte{Version}
	b = append(b, s.id[:]...)
	b = append(b, s.local[:]...)
	b = append(b, s.remote[:]...)
	b = appendKey(b, s.root)
	b = appendKey(b, s.nextSend)
	b = appendKey(b, s.nextRecv)
	b = wire.AppendUint32(b, s.pqEpoch)
	b = wire.AppendVec16(b, s.pqProgress)
	if s.due != nil {
		b = append(b, stateDue)
		b = append(b, s.due.peer[:]...)
		b = wire.AppendUint32(b, s.due.sent)
	} else {
		b = append(b, stateSending)
		b = append(b, s.sending.self.Bytes()...)
		b = appendKey(b, s.sending.header)
		b = appendKey(b, s.sending.chain)
		b = wire.AppendUint32(b, s.sending.next)
		b = wire.AppendUint32(b, s.sending.previous)
	}
	b = append(b, byte(len(s.chains)))
	for _, c := range s.chains {
		b = c.append(b)
	}
	return b
}

func (c *chain) append(b []byte) []byte {
	kind := byte(chainOpen)
	if c.closed {
		kind = chainClosed
	}
	b = appendKey(append(b, kind), c.header)
	if !c.closed {
		b = appendKey(b, c.key)
	}
	b = wire.AppendUint32(b, c.next)
	b = wire.AppendUint32(b, c.floor)
	b = wire.AppendUint16(b, uint16(len(c.skipped)))
	for _, k := range c.skipped {
		b = appendKey(wire.AppendUint32(b, k.number), k.key)
	}
	return b
}

func appendKey(b []byte, k suite.Key) []byte {
	raw := k.Bytes()
	b = append(b, raw...)
	clear(raw)
	return b
}

// ParseSession reads what Encode wrote. It returns ErrMalformed or a
// *VersionError.
func ParseSession(b []byte) (*Session, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return nil, &VersionError{What: "session", Version: v}
	}
	s := &Session{}
	r.Fixed(s.id[:])
	r.Fixed(s.local[:])
	r.Fixed(s.remote[:])
	s.root, s.nextSend, s.nextRecv = readKey(r), readKey(r), readKey(r)
	s.pqEpoch = r.Uint32()
	s.pqProgress = append(s.pqProgress, r.Vec16(maxPQState)...)
	switch state := r.Uint8(); {
	case r.Err() != nil:
	case state == stateDue:
		s.due = &dueState{}
		r.Fixed(s.due.peer[:])
		s.due.sent = r.Uint32()
	case state == stateSending:
		if err := s.readSending(r); err != nil {
			return nil, err
		}
	default:
		return nil, malformedSession("state")
	}
	if err := s.readChains(r); err != nil {
		return nil, err
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: session: %w", ErrMalformed, err)
	}
	return s, nil
}

func (s *Session) readSending(r *wire.Reader) error {
	c := &sendState{}
	scalar := r.Bytes(suite.DHSize)
	c.header, c.chain = readKey(r), readKey(r)
	c.next, c.previous = r.Uint32(), r.Uint32()
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: session: %w", ErrMalformed, err)
	}
	self, err := suite.DHPrivateFrom(scalar)
	if err != nil {
		return fmt.Errorf("%w: session: %w", ErrMalformed, err)
	}
	c.self, c.public = self, self.Public()
	s.sending = c
	return nil
}

func (s *Session) readChains(r *wire.Reader) error {
	n, total := int(r.Uint8()), 0
	if n > MaxReceivingChains {
		return malformedSession("number of chains")
	}
	for i := range n {
		c, err := readChain(r)
		if err != nil {
			return err
		}
		if c.closed != (i < n-1) {
			return malformedSession("order of chains")
		}
		if total += len(c.skipped); total > MaxSkip {
			return malformedSession("number of skipped keys")
		}
		s.chains = append(s.chains, c)
	}
	return nil
}

func readChain(r *wire.Reader) (*chain, error) {
	c := &chain{}
	switch kind := r.Uint8(); {
	case r.Err() != nil:
	case kind > chainClosed || kind < chainOpen:
		return nil, malformedSession("kind of chain")
	default:
		c.closed = kind == chainClosed
	}
	c.header = readKey(r)
	if !c.closed {
		c.key = readKey(r)
	}
	c.next, c.floor = r.Uint32(), r.Uint32()
	n := int(r.Uint16())
	if n > MaxSkip || c.floor > c.next {
		return nil, malformedSession("counters")
	}
	least := uint64(c.floor)
	for range n {
		k := skippedKey{number: r.Uint32(), key: readKey(r)}
		if r.Err() != nil {
			break
		}
		if uint64(k.number) < least || k.number >= c.next {
			return nil, malformedSession("order of skipped keys")
		}
		least = uint64(k.number) + 1
		c.skipped = append(c.skipped, k)
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: session: %w", ErrMalformed, err)
	}
	return c, nil
}

func readKey(r *wire.Reader) suite.Key {
	k, _ := suite.KeyFrom(r.Bytes(suite.KeySize)) // a short read stays in r
	return k
}

func malformedSession(what string) error {
	return fmt.Errorf("%w: session: %s", ErrMalformed, what)
}
