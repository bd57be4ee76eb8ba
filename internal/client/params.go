package client

import (
	"time"

	"sotto/internal/identity"
)

// Limits and times of spec/client.md §3.
const (
	// minPassphrase is the shortest new passphrase, in characters. Argon2id does
	// the rest; the interface advises more.
	minPassphrase = 8
	// maxName bounds names, our own and those given to contacts, in bytes.
	maxName = 128
	// maxRequests bounds how many strangers may wait: more than anybody reads,
	// few enough that a flood of work-paid requests cannot fill the disk.
	maxRequests = 200
	// maxConversations bounds the conversations of one contact: restored
	// accounts make new ones, nobody needs many.
	maxConversations = 16
	// maxPage bounds Messages.
	maxPage = 500

	// overlap is how long before and after its period a mailbox is watched, for
	// clocks that differ and envelopes on their way.
	overlap = 30 * time.Minute
	// openAhead is how long before a period its mailboxes are opened, so that
	// no message waits for proof of work.
	openAhead = 12 * time.Hour
	// openSpread is by how much earlier it is done, drawn for each mailbox: two
	// that are opened one period apart would follow one another. It reaches to
	// the beginning of the period before.
	openSpread = identity.PeriodLength - openAhead
	// firstGap is how far back a new conversation is read, in case the
	// inviter's clock is behind.
	firstGap = time.Hour

	// mailboxBytes is what a mailbox is opened for: a thousand envelopes of the
	// smallest class in one period. growth is the factor when one is full.
	mailboxBytes = 4 << 20
	growth       = 4

	// fetchLimit is how many envelopes one Fetch asks for.
	fetchLimit = 64
	// applyBatch is how many envelopes one transaction takes in.
	applyBatch = 32
	// entryBatch is how many entries of the outbox are looked at together.
	entryBatch = 128
	// maxSending bounds puts at a time, and perMailbox those to one mailbox: a
	// few hide the round trip, more would only arrive out of order.
	maxSending = 12
	perMailbox = 4
	// memberBehind is how much later a member is asked again for what a majority
	// has and it lacks: two intervals of reconciliation and a round, after which
	// an honest one has got what a coordinator kept from it (spec/swarm.md §3).
	memberBehind = 90 * time.Second
	// refusals is how often a majority must refuse before a message fails.
	refusals = 4
)

// timing is what tests shorten.
type timing struct {
	receiptMin, receiptMax time.Duration // how long a receipt waits, at random
	tombstones             time.Duration // at most, between the deletions of two mailboxes
	door                   time.Duration // the same of the front door's
	deleted                time.Duration // within which those of all mailboxes leave
	grace                  time.Duration // how long a member may be later than another
	behind                 time.Duration // within which an honest member has got what it was left out of
	hedge                  time.Duration // when a put goes to a second member too
	attempt                time.Duration // how long a request may take
	retryMin, retryMax     time.Duration // backoff between attempts
	patience               time.Duration // how long a card is looked for
	tick                   time.Duration // how often periods are looked at
	gap                    time.Duration // how long Take waits for what is missing
	apart                  time.Duration // at most, between request keys fetched ahead
	opening                time.Duration // at most, between two mailboxes opened ahead
	openings               time.Duration // within which those that are due are opened
	start                  time.Duration // over which subscriptions begin
	second                 time.Duration // over which those begin that only make up for others
	moving                 time.Duration // over which those move whose circuit retires
	watch                  time.Duration // at most, by how much longer than overlap a mailbox is watched
	spread                 time.Duration // over which the cards of coming periods are published
	unphased               bool          // mailboxes change periods at midnight, in tests alone
}

var defaultTiming = timing{
	receiptMin: 500 * time.Millisecond,
	receiptMax: 8 * time.Second,
	tombstones: 2 * time.Hour,
	door:       time.Minute,
	deleted:    4 * time.Hour,
	grace:      2 * time.Second,
	behind:     memberBehind,
	hedge:      1500 * time.Millisecond,
	attempt:    12 * time.Second,
	retryMin:   400 * time.Millisecond,
	retryMax:   30 * time.Second,
	patience:   45 * time.Second,
	tick:       time.Minute,
	gap:        5 * time.Second,
	apart:      5 * time.Second,
	opening:    5 * time.Minute,
	openings:   4 * time.Hour,
	start:      1500 * time.Millisecond,
	second:     90 * time.Second,
	moving:     10 * time.Minute,
	watch:      time.Hour,
	spread:     20 * time.Second,
}

// bare is t without the random delays and phases that make mailboxes hard to
// join, for the tests that measure what these are worth.
func (t timing) bare() timing {
	t.receiptMin, t.receiptMax = 0, 0
	t.tombstones, t.door, t.apart, t.opening, t.start, t.second, t.moving, t.watch, t.spread = 0, 0, 0, 0, 0, 0, 0, 0, 0
	t.unphased = true
	return t
}

// backoff is the pause after the n-th failure in a row, without jitter.
func (t *timing) backoff(n uint32) time.Duration {
	return min(t.retryMax, t.retryMin<<min(n, 16))
}
