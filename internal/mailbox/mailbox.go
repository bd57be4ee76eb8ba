// Package mailbox holds what clients and storage nodes say to one another:
// addresses and the rights that they commit to, sealed requests and replies,
// proof of work, signed receipts, the addresses of a conversation, and
// envelopes.
//
// It is pure: bytes in, bytes out, clock and randomness injected. It stores
// nothing and opens no connection; a node's store is package swarm's affair,
// the secrecy of what envelopes carry package ratchet's. It implements
// spec/mailbox.md. A frame on a swarm stream is
//
//	u8 type ‖ u8 version ‖ …
//
// and all that follows is laid out beside the types below.
package mailbox

import (
	"errors"
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Labels of this package (spec/mailbox.md §3).
const (
	labelAddress      suite.Label = suite.LabelPrefix + "mailbox/address"
	labelDigest       suite.Label = suite.LabelPrefix + "mailbox/digest"
	labelPut          suite.Label = suite.LabelPrefix + "mailbox/put"
	labelFetch        suite.Label = suite.LabelPrefix + "mailbox/fetch"
	labelProve        suite.Label = suite.LabelPrefix + "mailbox/prove"
	labelDelete       suite.Label = suite.LabelPrefix + "mailbox/delete"
	labelQuote        suite.Label = suite.LabelPrefix + "mailbox/quote"
	labelWork         suite.Label = suite.LabelPrefix + "mailbox/work"
	labelPurpose      suite.Label = suite.LabelPrefix + "mailbox/work/purpose"
	labelReceiptSalt  suite.Label = suite.LabelPrefix + "mailbox/receipt/salt"
	labelReceiptLeaf  suite.Label = suite.LabelPrefix + "mailbox/receipt/leaf"
	labelReceiptInner suite.Label = suite.LabelPrefix + "mailbox/receipt/inner"
	labelReceiptRoot  suite.Label = suite.LabelPrefix + "mailbox/receipt/root"
	labelRequestKey   suite.Label = suite.LabelPrefix + "mailbox/request key"
	labelSeal         suite.Label = suite.LabelPrefix + "mailbox/seal"
	labelReplyKey     suite.Label = suite.LabelPrefix + "mailbox/seal/reply"
	labelNextKey      suite.Label = suite.LabelPrefix + "mailbox/seal/next"
	labelNonce        suite.Label = suite.LabelPrefix + "mailbox/seal/nonce"
	labelConvPhase    suite.Label = suite.LabelPrefix + "mailbox/conversation/phase"
	labelConvStep     suite.Label = suite.LabelPrefix + "mailbox/conversation/step"
	labelConvWrite    suite.Label = suite.LabelPrefix + "mailbox/conversation/write"
	labelConvKey      suite.Label = suite.LabelPrefix + "mailbox/conversation/key"
	labelConvTweak    suite.Label = suite.LabelPrefix + "mailbox/conversation/tweak"
	labelConvOwner    suite.Label = suite.LabelPrefix + "mailbox/conversation/owner"
	labelEnvelope     suite.Label = suite.LabelPrefix + "mailbox/envelope"
	labelFirst        suite.Label = suite.LabelPrefix + "mailbox/envelope/first"
	labelBody         suite.Label = suite.LabelPrefix + "mailbox/envelope/body"
)

const version = 1

const (
	// MaxTTL is how long an envelope may wait: a fortnight away loses nothing.
	MaxTTL = 14 * 24 * time.Hour
	// MaxCardTTL is how long a card may lie: published 7 periods ahead, it
	// must last to the end of its own period.
	MaxCardTTL = 18 * 24 * time.Hour
	// MaxClockSkew is how far the clocks of client and node may differ, and so
	// how long a node remembers the nonces of requests.
	MaxClockSkew = 2 * time.Minute
	// MaxPeriodsAhead and MaxPeriodsBehind bound a locator's period: cards are
	// published 7 ahead and envelopes wait 7 behind; 2 more for the phase of a
	// conversation and for clocks.
	MaxPeriodsAhead  = identity.CardPeriodsAhead + 2
	MaxPeriodsBehind = identity.CardPeriodsAhead + 2

	// MaxDigests is how many envelopes one Delete names.
	MaxDigests = 256
	// MaxFetchLimit is how many envelopes one Fetch asks for.
	MaxFetchLimit = 256
	// MaxBatchBytes is how many bytes of envelopes a Batch holds: four of the
	// largest class, so that a reply fits into memory many times over.
	MaxBatchBytes = 1 << 20
	// MaxReceipts is how many receipts a Stored holds: one a member.
	MaxReceipts = 16
	// MaxOpenBytes is the largest mailbox that can be opened.
	MaxOpenBytes = 64 << 20
	// MaxOpenDays is the longest time for which a mailbox is opened: its
	// period, the periods that it is opened ahead, and the TTL.
	MaxOpenDays = 34
	// MaxMessage is the longest text of a Failure.
	MaxMessage = 200
	// MaxFrame bounds a frame on a swarm stream: a full batch, the headers of
	// its items, and the seal.
	MaxFrame = MaxBatchBytes + 64<<10
)

// sizeClasses are the sizes of stored envelopes, so that a size says little.
var sizeClasses = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10}

const (
	// CardClass is the size of a stored card, the smallest class.
	CardClass = identity.SealedCardSize
	// FirstClass is the size of every first contact.
	FirstClass = 16 << 10
	// MaxEnvelope is the largest class.
	MaxEnvelope = 256 << 10
)

// SizeClasses returns the sizes that stored envelopes have, ascending.
func SizeClasses() []int { return append([]int(nil), sizeClasses[:]...) }

// ClassFor returns the smallest class that holds n bytes, or ErrTooLarge.
func ClassFor(n int) (int, error) {
	for _, c := range sizeClasses {
		if n <= c {
			return c, nil
		}
	}
	return 0, fmt.Errorf("envelope of %d bytes: %w", n, ErrTooLarge)
}

// IsClass reports whether n is the size of a stored envelope.
func IsClass(n int) bool {
	c, err := ClassFor(n)
	return err == nil && c == n
}

// DigestSize is the size of a Digest in bytes.
const DigestSize = suite.HashSize

// Digest names an envelope within its mailbox.
type Digest [DigestSize]byte

// EnvelopeDigest returns the digest of an envelope at addr.
func EnvelopeDigest(addr Address, envelope []byte) Digest {
	return suite.Hash(labelDigest, addr[:], envelope)
}

// Cursor is a place in one member's log of a mailbox. It means something to
// the member and incarnation of the store that gave it out; to others, as the
// zero Cursor does, it means the start.
type Cursor struct {
	Node        identity.NodeID
	Incarnation uint64
	Seq         uint64
}

func (c Cursor) append(b []byte) []byte {
	b = append(b, c.Node[:]...)
	return wire.AppendUint64(wire.AppendUint64(b, c.Incarnation), c.Seq)
}

func readCursor(r *wire.Reader) (c Cursor) {
	r.Fixed(c.Node[:])
	c.Incarnation, c.Seq = r.Uint64(), r.Uint64()
	return c
}

// unix is t in the seconds of the formats; times before 1970 are 0.
func unix(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) }

func seconds(d time.Duration) uint64 { return uint64(d / time.Second) }

// readVersion refuses another version by name; nothing after it is looked at.
func readVersion(r *wire.Reader, what string) error {
	v := r.Uint8()
	if err := r.Err(); err != nil {
		return malformed(what, err)
	}
	if v != version {
		return fmt.Errorf("%s: %w %d", what, ErrVersion, v)
	}
	return nil
}

func finish(r *wire.Reader, what string) error {
	if err := r.Finish(); err != nil {
		return malformed(what, err)
	}
	return nil
}

func malformed(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, ErrFormat, err)
}

var errNonZero = errors.New("padding is not zero")

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
