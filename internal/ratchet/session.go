package ratchet

import (
	"fmt"
	"io"
	"math"

	"sotto/internal/suite"
)

// Session is one side of a Double Ratchet between two devices
// (spec/session.md §5.3). It is always in one of two states: it received last
// and owes a ratchet step (due is set), or it has a sending chain (sending is
// set).
type Session struct {
	id            [suite.HashSize]byte // the transcript of first contact
	local, remote [DeviceSize]byte     // what SetDevices gave; zero for one device a side

	root       suite.Key
	nextSend   suite.Key // NHKs: header key of the next sending chain
	nextRecv   suite.Key // NHKr: header key of the next receiving chain
	due        *dueState
	sending    *sendState
	chains     []*chain // receiving chains, oldest first; the last is current
	pqEpoch    uint32   // post-quantum secrets mixed into root so far
	pqProgress []byte   // state of the post-quantum step under way
}

// dueState is what a side that received last needs for its next step. Its own
// old ratchet key is gone already.
type dueState struct {
	peer suite.DHPublic
	sent uint32 // length of the last sending chain, the next one's PN
}

// sendState is a sending chain, with the ratchet key that it announces.
type sendState struct {
	self     suite.DHPrivate
	public   suite.DHPublic
	header   suite.Key // HKs
	chain    suite.Key // CKs
	next     uint32    // Ns
	previous uint32    // PN
}

// Format hides the session's keys from every verb.
func (Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[session]") }

// ID names the session: both sides compute the same one. It binds everything
// that was agreed on, and it is no secret. When two devices contact one another
// at once, both keep both sessions for reading; which one they write in follows
// from their conversations, not from this ID (spec/session.md §5.6).
func (s *Session) ID() [suite.HashSize]byte { return s.id }

// Confirmed reports whether the peer has ever written in this session, that
// is, whether it holds it for certain.
func (s *Session) Confirmed() bool { return len(s.chains) > 0 }

// SetDevices stores the identifiers of the two devices beside the session, for
// accounts with several.
func (s *Session) SetDevices(local, remote [DeviceSize]byte) { s.local, s.remote = local, remote }

// Devices returns what SetDevices stored.
func (s *Session) Devices() (local, remote [DeviceSize]byte) { return s.local, s.remote }

// Encrypt seals plaintext, at most MaxPayload bytes, as the next message of the
// sending chain. The caller stores the session before the message leaves the
// machine. On an error the session is unchanged.
func (s *Session) Encrypt(rand io.Reader, plaintext, ad []byte) ([]byte, error) {
	if len(plaintext) > MaxPayload {
		return nil, fmt.Errorf("%w: %d bytes of plaintext", ErrTooLong, len(plaintext))
	}
	msg := make([]byte, suite.NonceSize, Overhead+len(plaintext))
	if _, err := io.ReadFull(rand, msg); err != nil {
		return nil, err
	}
	if s.due != nil {
		if err := s.stepSending(rand); err != nil {
			return nil, err
		}
	}
	c := s.sending
	if c.next == math.MaxUint32 {
		return nil, ErrExhausted
	}
	h := header{epoch: s.pqEpoch, ratchet: c.public, previous: c.previous, number: c.next}
	msg = suite.Seal(msg, c.header, msg[:suite.NonceSize], h.encode(), s.id[:])
	key := kdfMessage(c.chain)
	msg = suite.Seal(msg, key, msg[:suite.NonceSize], plaintext, bodyAD(s.id, msg, ad))
	key.Erase()
	c.chain, c.next = kdfChain(c.chain), c.next+1
	return msg, nil
}

// stepSending is the sending half of the Diffie-Hellman ratchet, put off until
// there is something to send (spec/session.md §5.4).
func (s *Session) stepSending(rand io.Reader) error {
	self, err := suite.NewDHPrivate(rand)
	if err != nil {
		return err
	}
	dh, err := self.Shared(s.due.peer)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	next := &sendState{self: self, public: self.Public(), header: s.nextSend, previous: s.due.sent}
	s.root, next.chain, s.nextSend = kdfRoot(s.root, dh, nil)
	clear(dh)
	s.sending, s.due = next, nil
	return nil
}

// PQField returns the envelope's field for the post-quantum step. Nothing is
// due in this version, so it is random bytes, as unreadable as a real one
// (spec/session.md §5.5).
func (s *Session) PQField(rand io.Reader) ([PQFieldSize]byte, error) {
	var field [PQFieldSize]byte
	_, err := io.ReadFull(rand, field[:])
	return field, err
}

// TakePQField takes the field of a received envelope. In this version every
// field is a dummy, so it changes nothing.
func (s *Session) TakePQField([PQFieldSize]byte) error { return nil }

// Erase overwrites the session's keys. The session is unusable afterwards.
func (s *Session) Erase() {
	s.root.Erase()
	s.nextSend.Erase()
	s.nextRecv.Erase()
	if s.sending != nil {
		s.sending.header.Erase()
		s.sending.chain.Erase()
	}
	for _, c := range s.chains {
		c.erase()
	}
	clear(s.pqProgress)
	*s = Session{}
}
