package client

import (
	"errors"

	"sotto/internal/suite"
	"sotto/internal/vault"
)

// applyContent stores what a contact says. What somebody blocked says is
// dropped, and so is what they said before they were unblocked.
func (c *Client) applyContent(tx *vault.Tx, fx *effects, contact vault.Contact, device [16]byte, t *content) error {
	if contact.State == vault.ContactBlocked {
		return nil
	}
	for _, r := range t.Receipts {
		if err := c.applyReceipt(tx, fx, contact, r); err != nil {
			return err
		}
	}
	if t.Type != typeText {
		return nil
	}
	unblocked, err := tx.Number(settingUnblocked(contact.ID))
	if err != nil || uint64(t.SentAt) < unblocked {
		return err
	}
	return c.applyText(tx, fx, contact, device, t)
}

func (c *Client) applyText(tx *vault.Tx, fx *effects, contact vault.Contact, device [16]byte, t *content) error {
	now := c.now()
	m := vault.Message{
		ID: localID(contact.ID, t.ID), Remote: [16]byte(t.ID), Peer: contact.ID, State: vault.MessageReceived,
		Sent: t.SentAt, Received: now.UnixMilli(), Device: device, Counter: t.Counter, Text: t.Text,
	}
	_, err := tx.Message(m.ID)
	switch {
	case err == nil: // sent again; perhaps our receipt was lost
		return c.acknowledge(tx, fx, contact, m.Remote)
	case !errors.Is(err, vault.ErrNotFound):
		return err
	}
	if err := tx.AddMessage(&m); err != nil {
		return err
	}
	gap, err := gapBefore(tx, m)
	if err != nil {
		return err
	}
	out := c.shown(m, gap)
	fx.events = append(fx.events, Event{Type: EventMessage, Peer: out.Peer, Message: &out})
	return c.acknowledge(tx, fx, contact, m.Remote)
}

// acknowledge puts a delivery receipt down, to leave after a random moment.
// Strangers get none.
func (c *Client) acknowledge(tx *vault.Tx, fx *effects, contact vault.Contact, id [16]byte) error {
	if contact.State != vault.ContactAccepted {
		return nil
	}
	fx.receipts = true
	return tx.AddReceipt(vault.Receipt{Peer: contact.ID, Message: id, Kind: vault.ReceiptDelivered, Due: c.receiptDue()})
}

func (c *Client) receiptDue() int64 {
	return c.now().Add(c.random(c.timing.receiptMin, c.timing.receiptMax)).UnixMilli()
}

// applyReceipt moves a message of ours on. A receipt for anything else, or from
// anybody but its recipient, changes nothing.
func (c *Client) applyReceipt(tx *vault.Tx, fx *effects, contact vault.Contact, r receipt) error {
	m, err := tx.Message([16]byte(r.ID))
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	state := vault.MessageDelivered
	if r.Kind == uint64(vault.ReceiptRead) {
		state = vault.MessageRead
	}
	if !m.Outgoing || m.Peer != contact.ID || m.State >= state && m.State != vault.MessageFailed {
		return nil
	}
	m.State, m.Reason = state, ""
	fx.states = append(fx.states, m)
	return tx.SetMessage(m)
}

// localID names an incoming message in this vault. The sender chose its own
// ID, which must not be able to collide with anybody else's.
func localID(peer [32]byte, id []byte) [16]byte {
	h := suite.Hash(labelLocal, peer[:], id)
	return [16]byte(h[:16])
}
