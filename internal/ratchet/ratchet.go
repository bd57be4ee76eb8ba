// Package ratchet is the session between two devices: PQXDH for first contact
// and a Double Ratchet with header encryption for every message after it
// (spec/session.md).
//
// It is pure: bytes in, bytes out, randomness injected, no clock and no
// goroutine. It knows no mailbox, no account and no certificate: what the
// sender of a first message says about itself is opaque here, and it is the
// caller who decides whose identity key that is. It signs nothing, so that
// nothing that it makes proves to a third party who wrote it.
//
// A message is
//
//	nonce[24] ‖ header[61] ‖ body
//
// where the header is sealed under a key that only the two sides know and the
// body under a key that serves once. A Session is not safe for concurrent use,
// and its Encode must be on disk before what Encrypt returned leaves the
// machine (spec/session.md §5.7).
package ratchet

import (
	"errors"
	"fmt"

	"sotto/internal/suite"
)

const (
	// Version is the version of first messages, message headers and stored
	// sessions.
	Version = 1

	// MaxSkip is how many keys of messages that have not come yet a session
	// keeps, over all its chains; past it the oldest go first. It bounds a
	// stored session to about 72 KiB.
	MaxSkip = 2000
	// MaxJump is how far a message may lie ahead of the newest one seen in its
	// chain: more than two weeks of busy writing, and some tens of milliseconds
	// of hashing.
	MaxJump = 25_000
	// MaxReceivingChains is how many receiving chains a session remembers, the
	// current one included: enough for a mailbox that delivers five turns of a
	// conversation out of order, and few enough to try each header key.
	MaxReceivingChains = 5

	// MaxSender is the greatest length of a first message's sender bytes: a
	// certificate of less than 300 bytes, with room for several.
	MaxSender = 2048
	// MaxPayload is the greatest length of a first message's payload, and of
	// any plaintext. With MaxSender it stays inside one 16 KiB envelope.
	MaxPayload = 12 << 10
	// MaxFirst is the length of the longest first message.
	MaxFirst = firstOverhead + MaxSender + MaxPayload
	// Overhead is what Encrypt adds to a plaintext, in bytes.
	Overhead = suite.NonceSize + sealedHeaderSize + suite.TagSize

	// PQFieldSize is the size of the field that every envelope reserves for
	// the post-quantum step: an ML-KEM-768 key, its framing and a tag.
	PQFieldSize = 1216
	// maxPQState bounds the state of a post-quantum step under way: a private
	// seed, two public keys or ciphertexts, and counters.
	maxPQState = 4096

	// DeviceSize is the size of a device's identifier.
	DeviceSize = 16
)

// The labels of spec/session.md §3.
const (
	labelSenderKey   suite.Label = suite.LabelPrefix + "session/sender"
	labelSession     suite.Label = suite.LabelPrefix + "session/root"
	labelOpenBinding suite.Label = suite.LabelPrefix + "session/transcript-1"
	labelFullBinding suite.Label = suite.LabelPrefix + "session/transcript-2"
	labelDigest      suite.Label = suite.LabelPrefix + "session/first-digest"
	labelRoot        suite.Label = suite.LabelPrefix + "session/ratchet"
	labelChain       suite.Label = suite.LabelPrefix + "session/chain"
	labelMessage     suite.Label = suite.LabelPrefix + "session/message"
)

// The decisions that a caller takes on a message (spec/session.md §6).
var (
	// ErrNotForUs says that no key of this session or prekey opens the input:
	// it belongs to another session or device, or is noise.
	ErrNotForUs = errors.New("ratchet: not for this session")
	// ErrReplay says that the message was decrypted before.
	ErrReplay = errors.New("ratchet: message decrypted before")
	// ErrForgotten says that the message's key was dropped to keep within
	// MaxSkip. The message may have been decrypted before, or never.
	ErrForgotten = errors.New("ratchet: message key no longer kept")
	// ErrTooFar says that the message lies more than MaxJump ahead.
	ErrTooFar = errors.New("ratchet: message too far ahead")
	// ErrDamaged says that the header belongs to this session but its content
	// contradicts it, or that the body or its associated data were changed.
	ErrDamaged = errors.New("ratchet: message damaged")
	// ErrEpoch says that the message needs a post-quantum secret that this
	// side does not have.
	ErrEpoch = errors.New("ratchet: unknown post-quantum epoch")
	// ErrMalformed says that the input is no message, first message or stored
	// session at all.
	ErrMalformed = errors.New("ratchet: malformed input")
	// ErrTooLong says that a plaintext, payload or sender is over its limit.
	ErrTooLong = errors.New("ratchet: input too long")
	// ErrPeriod says that a first message names another period than the
	// prekeys.
	ErrPeriod = errors.New("ratchet: first message for another period")
	// ErrPrekeys says that a prekey is not a usable public key.
	ErrPrekeys = errors.New("ratchet: unusable prekeys")
	// ErrIdentity says that the first message was not made by the holder of
	// the identity key that it was accepted for.
	ErrIdentity = errors.New("ratchet: first message not by the given identity")
	// ErrExhausted says that a chain has no message number left.
	ErrExhausted = errors.New("ratchet: sending chain exhausted")
)

// VersionError is returned for an input of a version that is not known.
type VersionError struct {
	// What is "first message", "message" or "session".
	What    string
	Version uint8
}

// Error names the input and its version.
func (e *VersionError) Error() string {
	return fmt.Sprintf("ratchet: %s of version %d, only %d is known", e.What, e.Version, Version)
}
