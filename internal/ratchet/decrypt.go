package ratchet

import (
	"fmt"
	"math"

	"sotto/internal/suite"
)

// Decrypt opens a message of the peer. It returns ErrNotForUs when no header
// key opens it, ErrReplay for one that was decrypted before, ErrForgotten,
// ErrTooFar, ErrEpoch, ErrDamaged, ErrMalformed or a *VersionError. On any
// error the session is unchanged (spec/session.md §5.3).
func (s *Session) Decrypt(msg, ad []byte) ([]byte, error) {
	p, err := splitMessage(msg)
	if err != nil {
		return nil, err
	}
	h, c, err := s.openHeader(p)
	if err != nil {
		return nil, err
	}
	if h.epoch != s.pqEpoch {
		return nil, fmt.Errorf("%w %d", ErrEpoch, h.epoch)
	}
	if h.number == math.MaxUint32 {
		return nil, fmt.Errorf("%w: number that no chain reaches", ErrDamaged)
	}
	ad = bodyAD(s.id, p.prefix, ad)
	switch {
	case c == nil:
		return s.decryptNext(h, p, ad)
	case h.number < c.next:
		return s.decryptSkipped(c, h, p, ad)
	case c.closed:
		return nil, fmt.Errorf("%w: number beyond the end of its chain", ErrDamaged)
	}
	return s.decryptCurrent(c, h, p, ad)
}

// openHeader tries the header keys, the likeliest first, and returns the chain
// whose key it was, or nil for a new one. A new chain can only answer a ratchet
// key that this side has sent, so its key is not tried while a step is due.
func (s *Session) openHeader(p parts) (*header, *chain, error) {
	try := func(key suite.Key) []byte {
		b, err := suite.Open(nil, key, p.nonce, p.header, s.id[:])
		if err != nil {
			return nil
		}
		return b
	}
	current := s.current()
	if current != nil {
		if b := try(current.header); b != nil {
			h, err := parseHeader(b)
			return h, current, err
		}
	}
	if s.sending != nil {
		if b := try(s.nextRecv); b != nil {
			h, err := parseHeader(b)
			return h, nil, err
		}
	}
	for i := len(s.chains) - 2; i >= 0; i-- {
		if b := try(s.chains[i].header); b != nil {
			h, err := parseHeader(b)
			return h, s.chains[i], err
		}
	}
	return nil, nil, ErrNotForUs
}

func openBody(key suite.Key, p parts, ad []byte) ([]byte, error) {
	plaintext, err := suite.Open(nil, key, p.nonce, p.body, ad)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return plaintext, nil
}

// decryptSkipped opens a message that others have overtaken.
func (s *Session) decryptSkipped(c *chain, h *header, p parts, ad []byte) ([]byte, error) {
	i, ok := c.find(h.number)
	if !ok {
		if h.number < c.floor {
			return nil, ErrForgotten
		}
		return nil, ErrReplay
	}
	plaintext, err := openBody(c.skipped[i].key, p, ad)
	if err != nil {
		return nil, err
	}
	c.take(i)
	return plaintext, nil
}

// decryptCurrent opens a message at or ahead of the end of the current chain.
func (s *Session) decryptCurrent(c *chain, h *header, p parts, ad []byte) ([]byte, error) {
	at, passed, err := c.walk(h.number)
	if err != nil {
		return nil, err
	}
	plaintext, err := openAt(at, p, ad)
	if err != nil {
		eraseKeys(passed)
		return nil, err
	}
	c.keep(h.number, passed)
	c.key, c.next = kdfChain(at), h.number+1
	s.trim()
	return plaintext, nil
}

func openAt(at suite.Key, p parts, ad []byte) ([]byte, error) {
	key := kdfMessage(at)
	defer key.Erase()
	return openBody(key, p, ad)
}

// decryptNext opens the first message to come of a new chain: the receiving
// half of the Diffie-Hellman ratchet. All is computed beside the session, and
// enters it once the body has opened.
func (s *Session) decryptNext(h *header, p parts, ad []byte) ([]byte, error) {
	current := s.current()
	var rest []skippedKey
	switch {
	case current == nil && h.previous != 0, current != nil && h.previous < current.next:
		return nil, fmt.Errorf("%w: previous chain shorter than what came of it", ErrDamaged)
	case current != nil:
		var err error
		if _, rest, err = current.walk(h.previous); err != nil {
			return nil, err
		}
	}
	dh, err := s.sending.self.Shared(h.ratchet)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	fresh := &chain{header: s.nextRecv}
	root, key, nextRecv := kdfRoot(s.root, dh, nil)
	clear(dh)
	fresh.key = key
	at, passed, err := fresh.walk(h.number)
	if err != nil {
		return nil, err
	}
	plaintext, err := openAt(at, p, ad)
	if err != nil {
		eraseKeys(rest)
		eraseKeys(passed)
		return nil, err
	}
	if current != nil {
		current.keep(h.previous, rest)
		current.close()
	}
	fresh.keep(h.number, passed)
	fresh.key, fresh.next = kdfChain(at), h.number+1
	s.chains = append(s.chains, fresh)
	s.root, s.nextRecv = root, nextRecv
	s.due = &dueState{peer: h.ratchet, sent: s.sending.next}
	s.sending.header.Erase()
	s.sending.chain.Erase()
	s.sending = nil
	s.trim()
	return plaintext, nil
}
