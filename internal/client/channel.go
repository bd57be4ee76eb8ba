package client

import (
	"fmt"
	"sync"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

// channel is a conversation at work: a row of the vault, its secret parsed, and
// the mailboxes computed from it. A contact may have several; all are read, one
// is written to (spec/client.md §5.1).
type channel struct {
	id        [32]byte
	peer      suite.VerifyKey
	device    [16]byte
	initiator bool
	peerBase  suite.VerifyKey
	base      *identity.BlindableKey // ours
	unphased  bool                   // in tests alone

	mu     sync.Mutex // guards what follows
	row    vault.Conversation
	secret *mailbox.Conversation
	boxes  map[boxKey]mailbox.Box
	owners map[identity.Period]suite.Signer
}

type boxKey struct {
	period identity.Period
	out    bool
}

func (c *Client) newChannel(row vault.Conversation) (*channel, error) {
	secret, err := mailbox.ParseConversation(row.Secret)
	if err != nil {
		return nil, fmt.Errorf("client: stored conversation: %w", err)
	}
	return &channel{
		id:        row.ID,
		peer:      row.Peer,
		device:    row.Device,
		initiator: row.Initiator,
		peerBase:  row.Base,
		base:      c.persona.Base(),
		unphased:  c.timing.unphased,
		row:       row,
		secret:    secret,
		boxes:     map[boxKey]mailbox.Box{},
		owners:    map[identity.Period]suite.Signer{},
	}, nil
}

// keepBoxes bounds the computed mailboxes that a channel remembers.
const keepBoxes = 16

// box returns a direction's mailbox. The blinding costs a tenth of a
// millisecond, so mailboxes are remembered.
func (ch *channel) box(p identity.Period, out bool) (mailbox.Box, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	key := boxKey{p, out}
	if b, ok := ch.boxes[key]; ok {
		return b, nil
	}
	dir, recipient := ch.initiator, ch.peerBase
	if !out {
		dir, recipient = !ch.initiator, ch.base.Public()
	}
	b, err := ch.secret.Box(p, dir, recipient)
	if err != nil {
		return b, err
	}
	if len(ch.boxes) >= keepBoxes {
		clear(ch.boxes)
	}
	ch.boxes[key] = b
	return b, nil
}

// owner returns the key that reads our mailbox of a period.
func (ch *channel) owner(p identity.Period) (suite.Signer, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if s, ok := ch.owners[p]; ok {
		return s, nil
	}
	s, err := ch.secret.Owner(p, !ch.initiator, ch.base)
	if err != nil {
		return nil, err
	}
	if len(ch.owners) >= keepBoxes {
		clear(ch.owners)
	}
	ch.owners[p] = s
	return s, nil
}

// period returns a direction's period: the one that we write in, or read.
// The phases never change, so it needs no lock.
func (ch *channel) period(now time.Time, out bool) identity.Period {
	if ch.unphased {
		return identity.PeriodAt(now)
	}
	return ch.secret.Period(now, ch.initiator == out)
}

func (ch *channel) ends(p identity.Period, out bool) time.Time {
	if ch.unphased {
		return p.End()
	}
	return ch.secret.Ends(p, ch.initiator == out)
}

// advance erases secrets that nothing can need any more, in memory and in the
// row that it returns; changed says whether there were any.
func (ch *channel) advance(now time.Time) (row vault.Conversation, changed bool, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	before := ch.secret.Oldest()
	if err := ch.secret.Advance(now); err != nil {
		return ch.row, false, err
	}
	if ch.secret.Oldest() == before {
		return ch.row, false, nil
	}
	clear(ch.boxes)
	clear(ch.owners)
	ch.row.Secret = ch.secret.Encode()
	return ch.row, true, nil
}

func (ch *channel) readPeriod() identity.Period {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return identity.Period(ch.row.ReadPeriod)
}

// setRead notes that everything before p has been read, and returns the row.
func (ch *channel) setRead(p identity.Period) vault.Conversation {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.row.ReadPeriod = max(ch.row.ReadPeriod, uint64(p))
	return ch.row
}

// channelOf returns a channel by its ID; nil if it is gone.
func (c *Client) channelOf(id [32]byte) *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[id]
}

// committedChannel is channelOf for a conversation whose rows are committed: if
// its channel is not there yet, whoever commits it is about to take it up.
func (c *Client) committedChannel(id [32]byte) *channel {
	if ch := c.channelOf(id); ch != nil {
		return ch
	}
	c.joining.RLock()
	defer c.joining.RUnlock()
	return c.channelOf(id)
}

func (c *Client) allChannels() []*channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*channel, 0, len(c.channels))
	for _, ch := range c.channels {
		out = append(out, ch)
	}
	return out
}

// openChannels leaves out those with people who are blocked: they are neither
// read nor written to.
func (c *Client) openChannels() []*channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*channel, 0, len(c.channels))
	for _, ch := range c.channels {
		if !c.blocked[ch.peer] {
			out = append(out, ch)
		}
	}
	return out
}

// stand takes up how we now stand with somebody: whether their mailboxes are
// read, and whether they are known at all.
func (c *Client) stand(peer [32]byte, contact *vault.Contact) {
	c.mu.Lock()
	delete(c.blocked, peer)
	if contact != nil && contact.State == vault.ContactBlocked {
		c.blocked[peer] = true
	}
	for id, ch := range c.channels {
		if contact == nil && ch.peer == peer {
			delete(c.channels, id)
		}
	}
	c.mu.Unlock()
	c.kickPlan.kick()
	c.kickPrepare.kick()
}

// addChannel takes up a conversation that was just committed.
func (c *Client) addChannel(ch *channel) {
	c.mu.Lock()
	c.channels[ch.id] = ch
	c.mu.Unlock()
	c.kickPlan.kick()
	c.kickPrepare.kick()
}
