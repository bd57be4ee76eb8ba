package mailbox

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// ConversationIDSize is the size of a conversation's ID in bytes.
	ConversationIDSize = 32
	// MaxRefreshes bounds the refreshes that lie ahead or within the TTL.
	MaxRefreshes = 16
	// KeepPeriods is how many periods before the current one a conversation can
	// still open: the longest TTL, and one for the period that was running.
	KeepPeriods = identity.CardPeriodsAhead + 1
	// maxSteps bounds the work of moving a secret forward: some 20 years.
	maxSteps = 4096

	periodSeconds = uint64(identity.PeriodLength / time.Second)
)

// Conversation is the secret from which the mailboxes of a pair are derived.
// It moves one way: from a period's secret come all later ones, and none
// earlier (spec/mailbox.md §5.6). It is not safe for concurrent use.
type Conversation struct {
	id        [ConversationIDSize]byte
	phases    [2]time.Duration // by which the periods of each direction begin later than everyone's
	period    identity.Period
	secret    [suite.KeySize]byte // of period
	refreshes []refresh           // of later periods, ascending
}

type refresh struct {
	from  identity.Period
	value [suite.KeySize]byte
}

// NewConversation makes a fresh secret that starts at now.
func NewConversation(rand io.Reader, now time.Time) (*Conversation, error) {
	c := &Conversation{}
	for _, b := range [][]byte{c.id[:], c.secret[:]} {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, err
		}
	}
	c.derivePhases()
	c.period = min(c.Period(now, true), c.Period(now, false))
	return c, nil
}

// derivePhases computes the phases, which stay while the secret moves on.
func (c *Conversation) derivePhases() {
	for i, initiator := range []bool{true, false} {
		b := suite.Derive(c.id[:], labelConvPhase, 8, direct(initiator))
		c.phases[i] = time.Duration(binary.BigEndian.Uint64(b)%periodSeconds) * time.Second
	}
}

func (c *Conversation) phase(initiator bool) time.Duration { return c.phases[direct(initiator)[0]] }

// ID names the conversation to its two parties; no mailbox shows it, and since
// the phases follow from it, nothing else may.
func (c *Conversation) ID() [ConversationIDSize]byte { return c.id }

// Period returns a direction's period at now, with initiator as for Box. Each
// direction's periods begin at a phase of their own that only the parties know,
// so that mailboxes do not change at one moment, nor the two together.
func (c *Conversation) Period(now time.Time, initiator bool) identity.Period {
	return identity.PeriodAt(now.Add(-c.phase(initiator)))
}

// Ends returns when period p of a direction gives way to the next.
func (c *Conversation) Ends(p identity.Period, initiator bool) time.Time {
	return p.End().Add(c.phase(initiator))
}

// Oldest returns the earliest period whose secret is not erased.
func (c *Conversation) Oldest() identity.Period { return c.period }

// Advance erases the secrets of periods from which nothing can still arrive.
func (c *Conversation) Advance(now time.Time) error {
	p := min(c.Period(now, true), c.Period(now, false))
	if p < c.period+KeepPeriods {
		return nil
	}
	target := p - KeepPeriods
	s, err := c.secretAt(target)
	if err != nil {
		return err
	}
	c.secret, c.period = s, target
	for len(c.refreshes) > 0 && c.refreshes[0].from <= target {
		clear(c.refreshes[0].value[:])
		c.refreshes = c.refreshes[1:]
	}
	return nil
}

// Refresh mixes new randomness into the secret from period from on, so that
// who held the earlier secret cannot follow. Both parties call it alike, with
// a value that came through the ratchet. It is refused for periods that have a
// refresh or are not later than both directions' current one.
func (c *Conversation) Refresh(from identity.Period, value [suite.KeySize]byte, now time.Time) error {
	if from <= max(c.Period(now, true), c.Period(now, false)) {
		return fmt.Errorf("refresh: %w", ErrExpired)
	}
	if len(c.refreshes) >= MaxRefreshes {
		return fmt.Errorf("%d refreshes: %w", len(c.refreshes), ErrTooLarge)
	}
	at := 0
	for at < len(c.refreshes) && c.refreshes[at].from < from {
		at++
	}
	if at < len(c.refreshes) && c.refreshes[at].from == from {
		return fmt.Errorf("second refresh of a period: %w", ErrFormat)
	}
	c.refreshes = append(c.refreshes[:at:at], append([]refresh{{from, value}}, c.refreshes[at:]...)...)
	return nil
}

// secretAt moves a copy of the secret forward to period p.
func (c *Conversation) secretAt(p identity.Period) ([suite.KeySize]byte, error) {
	if p < c.period {
		return [suite.KeySize]byte{}, ErrErased
	}
	if p-c.period > maxSteps {
		return [suite.KeySize]byte{}, fmt.Errorf("too many periods ahead: %w", ErrExpired)
	}
	s, pending := c.secret, c.refreshes
	for at := c.period + 1; at <= p; at++ {
		var mix []byte
		if len(pending) > 0 && pending[0].from == at {
			mix, pending = pending[0].value[:], pending[1:]
		}
		next := suite.Derive(s[:], labelConvStep, len(s), wire.AppendUint64(nil, uint64(at)), mix)
		copy(s[:], next)
		clear(next)
	}
	return s, nil
}

// Box is one direction's mailbox of one period.
type Box struct {
	Locator Locator
	Write   suite.SigningKey // puts; both parties hold it
	Key     suite.Key        // encrypts what is put
}

// Box returns the mailbox of a direction in period p: from initiator to
// responder if initiator is true. The owner is recipientBase, blinded for this
// conversation, period and direction.
func (c *Conversation) Box(p identity.Period, initiator bool, recipientBase suite.VerifyKey) (Box, error) {
	s, err := c.secretAt(p)
	if err != nil {
		return Box{}, err
	}
	defer clear(s[:])
	dir := direct(initiator)
	owner, err := identity.BlindPublic(recipientBase, labelConvOwner, ownerTweak(s[:], dir))
	if err != nil {
		return Box{}, err
	}
	write, err := suite.SigningKeyFrom(suite.Derive(s[:], labelConvWrite, suite.SigningSeedSize, dir))
	if err != nil {
		return Box{}, err
	}
	return Box{
		Locator: Locator{Kind: KindConversation, Period: uint64(p), Owner: owner, Shared: write.Public()},
		Write:   write,
		Key:     suite.DeriveKey(s[:], labelConvKey, dir),
	}, nil
}

// Owner returns the key that owns Box(p, initiator, base.Public()).
func (c *Conversation) Owner(p identity.Period, initiator bool, base *identity.BlindableKey) (suite.Signer, error) {
	s, err := c.secretAt(p)
	if err != nil {
		return nil, err
	}
	defer clear(s[:])
	return base.Blind(labelConvOwner, ownerTweak(s[:], direct(initiator)))
}

func direct(initiator bool) []byte {
	if initiator {
		return []byte{0}
	}
	return []byte{1}
}

func ownerTweak(secret, dir []byte) []byte {
	return suite.Derive(secret, labelConvTweak, suite.KeySize, dir)
}

// Invitation returns what travels in the first message and makes the other
// party's Conversation.
func (c *Conversation) Invitation() []byte { return c.Encode() }

// Encode returns the conversation, for storing or sending it encrypted.
func (c *Conversation) Encode() []byte {
	b := append([]byte{version}, c.id[:]...)
	b = wire.AppendUint64(b, uint64(c.period))
	b = append(append(b, c.secret[:]...), byte(len(c.refreshes)))
	for _, r := range c.refreshes {
		b = append(wire.AppendUint64(b, uint64(r.from)), r.value[:]...)
	}
	return b
}

// ConversationFromInvitation reads what Invitation writes.
func ConversationFromInvitation(b []byte) (*Conversation, error) { return ParseConversation(b) }

// ParseConversation reads what Encode writes.
func ParseConversation(b []byte) (*Conversation, error) {
	r := wire.NewReader(b)
	if err := readVersion(r, "conversation"); err != nil {
		return nil, err
	}
	c := &Conversation{}
	r.Fixed(c.id[:])
	c.derivePhases()
	c.period = identity.Period(r.Uint64())
	r.Fixed(c.secret[:])
	n := int(r.Uint8())
	if n > MaxRefreshes {
		return nil, malformed("conversation", wire.ErrTooLong)
	}
	last := c.period
	for range n {
		f := refresh{from: identity.Period(r.Uint64())}
		r.Fixed(f.value[:])
		if r.Err() == nil && f.from <= last {
			return nil, fmt.Errorf("conversation: refreshes out of order: %w", ErrFormat)
		}
		last = f.from
		c.refreshes = append(c.refreshes, f)
	}
	if err := finish(r, "conversation"); err != nil {
		return nil, err
	}
	if c.period > maxPeriod {
		return nil, fmt.Errorf("conversation: period out of range: %w", ErrFormat)
	}
	return c, nil
}

// maxPeriod is far beyond any date, and keeps sums of periods from overflowing.
const maxPeriod = 1 << 32

// Equal compares in constant time, refreshes apart.
func (c *Conversation) Equal(o *Conversation) bool {
	return c.period == o.period && c.id == o.id &&
		subtle.ConstantTimeCompare(c.secret[:], o.secret[:]) == 1
}

// String hides the secret from formatted output.
func (Conversation) String() string { return "[conversation]" }

// Format hides the secret from every verb.
func (Conversation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[conversation]") }
