package client

import (
	"context"
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/ratchet"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

// The labels of spec/client.md §2.
const (
	labelSlot  suite.Label = suite.LabelPrefix + "client/slot"
	labelFirst suite.Label = suite.LabelPrefix + "client/first"
	labelKey   suite.Label = suite.LabelPrefix + "client/request key"
	labelLocal suite.Label = suite.LabelPrefix + "client/message"
	// labelMoment draws times, and nothing of it leaves the client.
	labelMoment suite.Label = suite.LabelPrefix + "client/moment"
)

const (
	// rideText and rideReceipts let receipts travel with a text only where they
	// don't push its envelope into a larger class.
	rideText     = 1600
	rideReceipts = 24
)

// Send queues a text for peer and returns the message as queued; events tell
// what becomes of it. Writing to a stranger accepts them.
func (c *Client) Send(ctx context.Context, peer, text string) (Message, error) {
	root, err := c.parsePeer(peer)
	if err != nil {
		return Message{}, err
	}
	if text == "" || !utf8.ValidString(text) {
		return Message{}, ErrEmpty
	}
	if len(text) > maxText {
		return Message{}, ErrTooLong
	}
	m := vault.Message{Peer: root, Outgoing: true, State: vault.MessageQueued, Sent: c.nowMilli(), Text: text, Seen: true, Taken: true}
	if _, err := io.ReadFull(c.rand, m.ID[:]); err != nil {
		return Message{}, err
	}
	m.Remote = m.ID
	welcome := false
	err = c.vault.Update(ctx, func(tx *vault.Tx) error {
		var contact vault.Contact
		var err error
		if contact, welcome, err = c.writeTo(tx, root); err != nil {
			return err
		}
		conv, err := tx.SendingConversation(root)
		if errors.Is(err, vault.ErrNotFound) {
			if len(text) > maxFirstText {
				return ErrTooLong
			}
			return tx.AddMessage(&m)
		}
		if err != nil {
			return err
		}
		if err := tx.AddMessage(&m); err != nil {
			return err
		}
		return c.sealQueued(tx, contact, conv)
	})
	if err != nil {
		return Message{}, err
	}
	c.kickOutbox.kick()
	c.kickContacts.kick()
	c.Chatting()
	out := c.shown(m, 0)
	if welcome {
		c.hub.publish(Event{Type: EventChat, Peer: out.Peer})
		c.kickReceipts.kick()
	}
	c.hub.publish(Event{Type: EventMessage, Peer: out.Peer, Message: &out})
	return out, nil
}

// writeTo returns the contact, accepting a stranger and making a new one.
func (c *Client) writeTo(tx *vault.Tx, root [32]byte) (contact vault.Contact, welcome bool, err error) {
	contact, err = tx.Contact(root)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		contact = vault.Contact{ID: root, Persona: c.number, State: vault.ContactAccepted, Created: c.nowMilli()}
		return contact, true, tx.SetContact(contact)
	case err != nil:
		return contact, false, err
	case contact.State == vault.ContactBlocked:
		return contact, false, ErrBlocked
	case contact.State != vault.ContactAccepted:
		return contact, true, c.acceptTx(tx, &contact)
	}
	return contact, false, nil
}

// Retry queues a failed message again. It keeps its ID and counter, so that
// the recipient, should it have come through after all, knows it.
func (c *Client) Retry(ctx context.Context, id string) error {
	key, err := parseMessageID(id)
	if err != nil {
		return err
	}
	var m vault.Message
	err = c.vault.Update(ctx, func(tx *vault.Tx) error {
		var err error
		if m, err = tx.Message(key); errors.Is(err, vault.ErrNotFound) {
			return ErrUnknown
		} else if err != nil {
			return err
		}
		if !m.Outgoing || m.State != vault.MessageFailed {
			return ErrNotFailed
		}
		contact, _, err := c.writeTo(tx, m.Peer)
		if err != nil {
			return err
		}
		m.State, m.Reason = vault.MessageQueued, ""
		if err := tx.SetMessage(m); err != nil {
			return err
		}
		conv, err := tx.SendingConversation(m.Peer)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.sealQueued(tx, contact, conv)
	})
	if err != nil {
		return err
	}
	c.kickOutbox.kick()
	c.kickContacts.kick()
	c.publishState(m)
	return nil
}

// sealQueued encrypts what waited for a conversation: ratchet, counter and
// outbox move in this one transaction, before anything leaves
// (spec/client.md §5.2).
func (c *Client) sealQueued(tx *vault.Tx, contact vault.Contact, conv vault.Conversation) error {
	queued, err := tx.Unsealed(contact.ID)
	if err != nil || len(queued) == 0 {
		return err
	}
	for _, m := range queued {
		if err := number(tx, &contact, &m); err != nil {
			return err
		}
		t := textOf(m)
		if err := c.ride(tx, contact, t); err != nil {
			return err
		}
		if err := c.seal(tx, conv, vault.OutboxMessage, m.ID, t); err != nil {
			return err
		}
	}
	return tx.SetContact(contact)
}

// number gives a message its counter, the first time that it is encrypted.
func number(tx *vault.Tx, contact *vault.Contact, m *vault.Message) error {
	if m.Counter != 0 {
		return nil
	}
	contact.Counter++
	m.Counter = contact.Counter
	return tx.SetMessage(*m)
}

func textOf(m vault.Message) *content {
	return &content{Type: typeText, ID: m.Remote[:], SentAt: m.Sent, Counter: m.Counter, Text: m.Text}
}

// ride lets waiting receipts travel with a short text.
func (c *Client) ride(tx *vault.Tx, contact vault.Contact, t *content) error {
	if contact.State != vault.ContactAccepted || len(t.Text) > rideText {
		return nil
	}
	return takeReceipts(tx, contact.ID, rideReceipts, t)
}

func takeReceipts(tx *vault.Tx, peer [32]byte, limit int, t *content) error {
	waiting, err := tx.Receipts(peer, limit)
	if err != nil {
		return err
	}
	for _, r := range waiting {
		t.Receipts = append(t.Receipts, receipt{ID: r.Message[:], Kind: uint64(r.Kind)})
		if err := tx.DeleteReceipt(r); err != nil {
			return err
		}
	}
	return nil
}

// seal encrypts a content on a conversation and puts it into the outbox.
func (c *Client) seal(tx *vault.Tx, conv vault.Conversation, kind vault.OutboxKind, message [16]byte, t *content) error {
	ch := c.channelOf(conv.ID)
	if ch == nil { // not committed yet
		var err error
		if ch, err = c.newChannel(conv); err != nil {
			return err
		}
	}
	state, err := tx.Session(conv.ID, conv.Device)
	if err != nil {
		return err
	}
	session, err := ratchet.ParseSession(state)
	if err != nil {
		return err
	}
	key, err := suite.NewKey(c.rand)
	if err != nil {
		return err
	}
	defer key.Erase()
	e := &mailbox.Envelope{}
	if e.Body, err = mailbox.SealBody(c.rand, key, t.encode(), conv.ID[:]); err != nil {
		return err
	}
	if e.PQ, err = session.PQField(c.rand); err != nil {
		return err
	}
	slot, err := session.Encrypt(c.rand, key.Bytes(), slotAD(conv.ID, e.Body))
	if err != nil {
		return err
	}
	e.Slots = [][]byte{slot}
	if err := tx.SetSession(conv.ID, conv.Device, session.Encode()); err != nil {
		return err
	}
	now := c.now()
	p := ch.period(now, true)
	box, err := ch.box(p, true)
	if err != nil {
		return err
	}
	sealed, err := mailbox.SealEnvelope(c.rand, box.Key, box.Locator.Address(), e)
	if err != nil {
		return err
	}
	return tx.AddEntry(&vault.Entry{
		Kind: kind, Message: message, Conversation: conv.ID, Period: uint64(p), Expiry: expiry(now),
		Created: now.UnixMilli(), Next: now.UnixMilli(), Envelope: sealed,
	})
}

// slotAD binds a wrapped key to its conversation and body.
func slotAD(conversation [32]byte, body []byte) []byte {
	h := suite.Hash(labelSlot, conversation[:], body)
	return h[:]
}

// expiryGrid is what expiries are multiples of: to the second they would show
// whose clock set them (spec/mailbox.md §7).
const expiryGrid = 3600

// expiry is when an envelope that leaves now may be forgotten.
func expiry(now time.Time) uint64 { return wholeHour(now.Add(mailbox.MaxTTL)) }

// wholeHour is the last whole hour that is not later.
func wholeHour(t time.Time) uint64 { return uint64(t.Unix()) / expiryGrid * expiryGrid }

// nextHour is the first whole hour that is not earlier.
func nextHour(unix uint64) uint64 { return (unix + expiryGrid - 1) / expiryGrid * expiryGrid }

// parsePeer reads an account ID other than our own.
func (c *Client) parsePeer(peer string) ([32]byte, error) {
	id, err := identity.ParseAccountID(peer)
	if err != nil {
		return [32]byte{}, err
	}
	if id.Root == c.root {
		return [32]byte{}, ErrSelf
	}
	return id.Root, nil
}
