package client

import (
	"errors"
	"slices"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/ratchet"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

// arrival is envelopes that a member gave us, and the cursor behind them.
type arrival struct {
	in     inbox
	period identity.Period
	addr   mailbox.Address
	key    suite.Key
	node   identity.NodeID
	items  []mailbox.Item
	cursor mailbox.Cursor
	pushed bool            // by a subscription
	done   chan<- struct{} // closed when they are in the vault; may be nil
}

// effects are what has to follow once a transaction is on disk.
type effects struct {
	events   []Event
	channels []*channel
	receipts bool
	deletes  bool
	states   []vault.Message
	seen     []seen
}

// seen is an envelope that has come, fresh if it was the first time.
type seen struct {
	arrival arrival
	digest  mailbox.Digest
	fresh   bool
}

// applyLoop takes arrivals in, several in one transaction, one transaction at a
// time: duplicates of two members and two subscriptions meet here.
func (c *Client) applyLoop() {
	for {
		var batch []arrival
		select {
		case a := <-c.arrivals:
			batch = append(batch, a)
		case <-c.ctx.Done():
			return
		}
		n := len(batch[0].items)
		for more := true; more && n < applyBatch; {
			select {
			case a := <-c.arrivals:
				batch = append(batch, a)
				n += len(a.items)
			default:
				more = false
			}
		}
		c.applyBatch(batch)
		for _, a := range batch {
			if a.done != nil {
				close(a.done)
			}
		}
	}
}

func (c *Client) applyBatch(batch []arrival) {
	var fx effects
	c.joining.Lock()
	defer c.joining.Unlock()
	err := c.update(func(tx *vault.Tx) error {
		fx = effects{}
		for _, a := range batch {
			for _, it := range a.items {
				if err := c.apply(tx, &fx, a, it); err != nil {
					return err
				}
			}
			if a.cursor != (mailbox.Cursor{}) {
				// The mailbox's end bounds how long its cursor means something.
				_, until, _, err := a.in.box(a.period)
				if err != nil {
					continue
				}
				if err := tx.SetCursor(a.addr, a.node, encodeCursor(a.cursor), uint64(until.Unix())); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		c.follow(&fx)
	}
}

func (c *Client) follow(fx *effects) {
	late := false
	for _, x := range fx.seen { // before they can be deleted
		late = c.witness.saw(c, x.arrival, x.digest, x.fresh) || late
	}
	if late {
		c.hub.publish(Event{Type: EventPath, Text: textLate})
	}
	for _, ch := range fx.channels {
		c.addChannel(ch)
		c.kickContacts.kick() // what waited for a conversation has one
	}
	if fx.receipts {
		c.kickReceipts.kick()
	}
	if fx.deletes {
		c.wakeDeletes()
	}
	if slices.ContainsFunc(fx.events, func(e Event) bool { return e.Type == EventMessage }) {
		c.Chatting()
	}
	c.hub.publish(fx.events...)
	for _, m := range fx.states {
		c.publishState(m)
	}
}

// apply takes one envelope in: once by its digest, whoever brings it
// (spec/client.md §5.5). Only the vault's errors are errors; an envelope that
// cannot be read is left to expire.
func (c *Client) apply(tx *vault.Tx, fx *effects, a arrival, it mailbox.Item) error {
	digest := mailbox.EnvelopeDigest(a.addr, it.Envelope)
	latest := nextHour(uint64(c.now().Add(mailbox.MaxTTL + mailbox.MaxClockSkew).Unix()))
	until := min(it.Expiry, latest)
	fresh, err := tx.Mark(digest, until)
	if err != nil {
		return err
	}
	fx.seen = append(fx.seen, seen{a, digest, fresh})
	if !fresh {
		return nil
	}
	var taken bool
	if conv, ok := a.in.(conversationInbox); ok {
		taken, err = c.applyEnvelope(tx, fx, conv.channel, a, it.Envelope)
	} else {
		taken, err = c.applyFirst(tx, fx, a, it.Envelope)
	}
	if err != nil || !taken {
		return err
	}
	fx.deletes = true
	return tx.AddTombstone(vault.Tombstone{Owner: a.in.id(), Period: uint64(a.period), Digest: digest, Expiry: until})
}

// applyEnvelope reads a message of a conversation.
func (c *Client) applyEnvelope(tx *vault.Tx, fx *effects, ch *channel, a arrival, sealed []byte) (taken bool, err error) {
	e, err := mailbox.OpenEnvelope(a.key, a.addr, sealed)
	if err != nil {
		c.unreadable(err)
		return false, nil
	}
	state, err := tx.Session(ch.id, ch.device)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil // the conversation was deleted
	}
	if err != nil {
		return false, err
	}
	session, err := ratchet.ParseSession(state)
	if err != nil {
		return false, err
	}
	plain, err := openSlots(session, ch.id, e)
	if err != nil {
		c.unreadable(err)
		// What was read before came again under another outer layer.
		return errors.Is(err, ratchet.ErrReplay), nil
	}
	if err := session.TakePQField(e.PQ); err != nil {
		c.unreadable(err)
	}
	if err := tx.SetSession(ch.id, ch.device, session.Encode()); err != nil {
		return false, err
	}
	t, err := parseContent(plain)
	if err != nil {
		c.unreadable(err)
		return false, nil
	}
	contact, err := tx.Contact(ch.peer)
	if errors.Is(err, vault.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.applyContent(tx, fx, contact, ch.device, t)
}

// openSlots finds the slot for this device and opens the body with its key.
func openSlots(session *ratchet.Session, conversation [32]byte, e *mailbox.Envelope) ([]byte, error) {
	ad := slotAD(conversation, e.Body)
	err := error(ratchet.ErrNotForUs)
	for _, slot := range e.Slots {
		var raw []byte
		if raw, err = session.Decrypt(slot, ad); err == nil {
			key, kerr := suite.KeyFrom(raw)
			clear(raw)
			if kerr != nil {
				return nil, kerr
			}
			defer key.Erase()
			return mailbox.OpenBody(key, e.Body, conversation[:])
		}
		if !errors.Is(err, ratchet.ErrNotForUs) {
			return nil, err
		}
	}
	return nil, err
}

// unreadable notes that something came that could not be read. What it was and
// whose is nobody's business, a log's included.
func (c *Client) unreadable(err error) {
	c.unread.Add(1)
	c.log.Debug("client: unreadable envelope", "error", err)
}
