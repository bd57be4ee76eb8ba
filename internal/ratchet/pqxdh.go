package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Prekeys are the public keys of a responder's device for one period. Whether
// they are the responder's is for the caller to have verified.
type Prekeys struct {
	Identity suite.DHPublic // IK_B
	Signed   suite.DHPublic // SPK_B
	KEM      suite.KEMPublic
	Period   uint64
}

// PrekeySecrets are the private keys of the same device and period.
type PrekeySecrets struct {
	Identity suite.DHPrivate
	Signed   suite.DHPrivate
	KEM      suite.KEMPrivate
	Period   uint64
}

// Public returns the prekeys that belong to the secrets.
func (p PrekeySecrets) Public() Prekeys {
	return Prekeys{
		Identity: p.Identity.Public(),
		Signed:   p.Signed.Public(),
		KEM:      p.KEM.Public(),
		Period:   p.Period,
	}
}

// encapsulator is KEMPublic.Encapsulate, or a test's with fixed randomness.
type encapsulator func(suite.KEMPublic) (shared, ciphertext []byte, err error)

// Initiate makes a session with the device whose prekeys are given, and the
// first message that lets it join. sender, at most MaxSender bytes, says who
// writes and is readable by that device alone; it must let the reader find and
// verify the public half of identity. payload, at most MaxPayload bytes, is the
// session's first plaintext. ad is what both sides know beforehand. It returns
// ErrPrekeys when a prekey is unusable and ErrTooLong.
func Initiate(rand io.Reader, identity suite.DHPrivate, sender []byte, to Prekeys, payload, ad []byte) (*Session, []byte, error) {
	return initiate(rand, suite.KEMPublic.Encapsulate, identity, sender, to, payload, ad)
}

func initiate(rand io.Reader, encapsulate encapsulator, identity suite.DHPrivate, sender []byte, to Prekeys, payload, ad []byte) (*Session, []byte, error) {
	if len(sender) > MaxSender {
		return nil, nil, fmt.Errorf("%w: %d bytes of sender", ErrTooLong, len(sender))
	}
	ephemeral, err := suite.NewDHPrivate(rand)
	if err != nil {
		return nil, nil, err
	}
	kem, ciphertext, err := encapsulate(to.KEM)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrPrekeys, err)
	}
	dh1, err1 := identity.Shared(to.Signed)
	dh2, err2 := ephemeral.Shared(to.Identity)
	dh3, err3 := ephemeral.Shared(to.Signed)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrPrekeys, err)
		}
	}
	f := &first{period: to.Period, ephemeral: ephemeral.Public(), ciphertext: ciphertext}
	open := openBinding(f, to, ad)
	f.sender = sealSender(open, dh3, kem, sender)
	s := newSession(fullBinding(open, identity.Public(), f.sender), dh1, dh2, dh3, kem)
	s.due = &dueState{peer: to.Signed}
	message, err := s.Encrypt(rand, payload, nil)
	if err != nil {
		return nil, nil, err
	}
	return s, append(f.encode(), message...), nil
}

// Opening is a first message whose sender bytes are readable, and whose sender
// has proved nothing yet. It holds secrets of the prekeys: drop it soon.
type Opening struct {
	secrets PrekeySecrets
	first   *first
	open    [suite.HashSize]byte // binding of stage 1
	dh3     []byte
	kem     []byte
	sender  []byte
}

// ReadFirst is stage 1 for the responder: it opens the sender bytes. It
// returns ErrNotForUs when these prekeys do not open the message, ErrPeriod,
// ErrMalformed or a *VersionError.
func ReadFirst(secrets PrekeySecrets, message, ad []byte) (*Opening, error) {
	f, err := parseFirst(bytes.Clone(message))
	if err != nil {
		return nil, err
	}
	if f.period != secrets.Period {
		return nil, ErrPeriod
	}
	o := &Opening{secrets: secrets, first: f, open: openBinding(f, secrets.Public(), ad)}
	if o.dh3, err = secrets.Signed.Shared(f.ephemeral); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotForUs, err)
	}
	if o.kem, err = secrets.KEM.Decapsulate(f.ciphertext); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	key := senderKey(o.open, o.dh3, o.kem)
	defer key.Erase()
	if o.sender, err = suite.Open(nil, key, onceNonce[:], f.sender, o.open[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotForUs, err)
	}
	return o, nil
}

// Format hides the secrets from every verb.
func (Opening) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[first message]") }

// Sender returns what the sender says about itself. Anybody could have said
// it: only Accept shows that the holder of the identity key did.
func (o *Opening) Sender() []byte { return bytes.Clone(o.sender) }

// Accept is stage 2: given the sender's identity key, which the caller took
// from the sender bytes and verified, it returns the session and the payload.
// It returns ErrIdentity when the message was not made with that key, and
// Decrypt's other errors when its maker broke the rules. Nothing
// is drawn from rand in this version: the ratchet step waits for the first
// Encrypt.
func (o *Opening) Accept(_ io.Reader, sender suite.DHPublic) (*Session, []byte, error) {
	dh1, err := o.secrets.Signed.Shared(sender)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	dh2, err := o.secrets.Identity.Shared(o.first.ephemeral)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotForUs, err)
	}
	s := newSession(fullBinding(o.open, sender, o.first.sender), dh1, dh2, bytes.Clone(o.dh3), bytes.Clone(o.kem))
	s.nextSend, s.nextRecv = s.nextRecv, s.nextSend
	// The signed prekey is the responder's first ratchet key. The message
	// ends its use: Decrypt leaves the session owing a step.
	s.sending = &sendState{self: o.secrets.Signed}
	if err := s.checkFirst(o.first.message); err != nil {
		return nil, nil, err
	}
	payload, err := s.Decrypt(o.first.message, nil)
	if err != nil {
		return nil, nil, err
	}
	return s, payload, nil
}

// checkFirst refuses a first message that is not number 0 of its chain: a
// stranger could otherwise cause a walk, and have its skipped keys stored.
func (s *Session) checkFirst(message []byte) error {
	p, err := splitMessage(message)
	if err != nil {
		return err
	}
	h, _, err := s.openHeader(p)
	if errors.Is(err, ErrNotForUs) {
		return ErrIdentity // another identity derives other header keys
	}
	if err != nil {
		return err
	}
	if h.number != 0 {
		return fmt.Errorf("%w: first message is not the first of its chain", ErrDamaged)
	}
	return nil
}

// onceNonce is the nonce of a key that seals one plaintext in its life.
var onceNonce [suite.NonceSize]byte

// hybridPrefix is the F of X3DH for X25519: it keeps the input of the key
// derivation apart from any encoded point (spec/session.md §5.1).
var hybridPrefix = bytes.Repeat([]byte{0xff}, 32)

// openBinding is the transcript of stage 1 (spec/session.md §5.1).
func openBinding(f *first, to Prekeys, ad []byte) [suite.HashSize]byte {
	return suite.Hash(labelOpenBinding, []byte{Version}, wire.AppendUint64(nil, f.period),
		to.Identity[:], to.Signed[:], to.KEM[:], f.ephemeral[:], f.ciphertext, ad)
}

// fullBinding is the transcript of stage 2, and the session's ID.
func fullBinding(open [suite.HashSize]byte, sender suite.DHPublic, sealedSender []byte) [suite.HashSize]byte {
	return suite.Hash(labelFullBinding, open[:], sender[:], sealedSender)
}

func senderKey(open [suite.HashSize]byte, dh3, kem []byte) suite.Key {
	var key suite.Key
	deriveKeys(labelSenderKey, []*suite.Key{&key}, open[:], hybridPrefix, dh3, kem)
	return key
}

func sealSender(open [suite.HashSize]byte, dh3, kem, sender []byte) []byte {
	key := senderKey(open, dh3, kem)
	defer key.Erase()
	return suite.Seal(nil, key, onceNonce[:], sender, open[:])
}

// newSession derives the session of stage 2 as the initiator sees it, and
// overwrites the secrets.
func newSession(id [suite.HashSize]byte, dh1, dh2, dh3, kem []byte) *Session {
	s := &Session{id: id}
	deriveKeys(labelSession, []*suite.Key{&s.root, &s.nextSend, &s.nextRecv}, id[:], hybridPrefix, dh1, dh2, dh3, kem)
	for _, b := range [][]byte{dh1, dh2, dh3, kem} {
		clear(b)
	}
	return s
}
