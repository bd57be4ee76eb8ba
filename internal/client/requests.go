package client

import (
	"context"
	"encoding/hex"
	"errors"

	"sotto/internal/identity"
	"sotto/internal/vault"
)

// Accept makes a stranger a contact; what they sent is now acknowledged.
func (c *Client) Accept(ctx context.Context, peer string) error {
	return c.changeContact(ctx, peer, func(tx *vault.Tx, contact *vault.Contact) error {
		if contact.State == vault.ContactBlocked {
			return ErrBlocked
		}
		return c.acceptTx(tx, contact)
	})
}

// acceptTx makes a contact accepted, and owes them receipts for what they sent.
func (c *Client) acceptTx(tx *vault.Tx, contact *vault.Contact) error {
	if contact.State == vault.ContactAccepted {
		return nil
	}
	contact.State = vault.ContactAccepted
	if err := tx.SetContact(*contact); err != nil {
		return err
	}
	all, err := tx.Incoming(contact.ID)
	if err != nil {
		return err
	}
	for _, m := range all {
		kind := vault.ReceiptDelivered
		if m.Seen {
			kind = vault.ReceiptRead
		}
		if err := tx.AddReceipt(vault.Receipt{Peer: contact.ID, Message: m.Remote, Kind: kind, Due: c.receiptDue()}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteRequest forgets a stranger with what they sent and the conversations
// that they made, which are not read any more. Should they make a new one, that
// is a new request.
func (c *Client) DeleteRequest(ctx context.Context, peer string) error {
	err := c.changeContact(ctx, peer, func(tx *vault.Tx, contact *vault.Contact) error {
		if contact.State != vault.ContactRequest {
			return ErrUnknown
		}
		return tx.DeleteContact(contact.ID)
	})
	if err != nil {
		return err
	}
	return c.vault.Checkpoint(ctx)
}

// Block drops whatever peer sends from now on, silently, and reads their
// conversations no more: they see no difference to somebody who is away.
func (c *Client) Block(ctx context.Context, peer string) error {
	return c.changeContact(ctx, peer, func(tx *vault.Tx, contact *vault.Contact) error {
		contact.State = vault.ContactBlocked
		waiting, err := tx.Receipts(contact.ID, -1)
		if err != nil {
			return err
		}
		for _, r := range waiting {
			if err := tx.DeleteReceipt(r); err != nil {
				return err
			}
		}
		return tx.SetContact(*contact)
	})
}

// Unblock undoes Block. The contact is accepted again if we ever wrote to
// them, and else a request. What they wrote while they were blocked is dropped
// when it is read now, which keeps the ratchet in step.
func (c *Client) Unblock(ctx context.Context, peer string) error {
	return c.changeContact(ctx, peer, func(tx *vault.Tx, contact *vault.Contact) error {
		if contact.State != vault.ContactBlocked {
			return nil
		}
		contact.State = vault.ContactRequest
		if contact.Counter > 0 {
			contact.State = vault.ContactAccepted
		}
		if err := tx.SetNumber(settingUnblocked(contact.ID), uint64(c.nowMilli())); err != nil {
			return err
		}
		return tx.SetContact(*contact)
	})
}

// settingUnblocked is when somebody was unblocked last, in Unix milliseconds.
func settingUnblocked(peer [32]byte) string { return "unblocked/" + hex.EncodeToString(peer[:]) }

// Rename gives a contact a name that only we see; empty takes it away.
func (c *Client) Rename(ctx context.Context, peer, name string) error {
	if name != "" {
		var err error
		if name, err = cleanName(name); err != nil {
			return err
		}
	}
	return c.changeContact(ctx, peer, func(tx *vault.Tx, contact *vault.Contact) error {
		contact.Name = name
		return tx.SetContact(*contact)
	})
}

// changeContact runs f on a contact that exists, and tells of the change.
func (c *Client) changeContact(ctx context.Context, peer string, f func(*vault.Tx, *vault.Contact) error) error {
	root, err := c.parsePeer(peer)
	if err != nil {
		return err
	}
	var now *vault.Contact
	err = c.vault.Update(ctx, func(tx *vault.Tx) error {
		contact, err := tx.Contact(root)
		if errors.Is(err, vault.ErrNotFound) {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		if err := f(tx, &contact); err != nil {
			return err
		}
		if contact, err = tx.Contact(root); errors.Is(err, vault.ErrNotFound) {
			now = nil
			return nil
		}
		now = &contact
		return err
	})
	if err != nil {
		return err
	}
	c.stand(root, now)
	c.kickReceipts.kick()
	c.hub.publish(Event{Type: EventChat, Peer: identity.AccountID{Root: root}.String()})
	return nil
}

// MarkRead marks everything of a chat as seen, and tells the other side if
// accepted.
func (c *Client) MarkRead(ctx context.Context, peer string) error {
	root, err := c.parsePeer(peer)
	if err != nil {
		return err
	}
	c.Chatting()
	marked := false
	err = c.vault.Update(ctx, func(tx *vault.Tx) error {
		contact, err := tx.Contact(root)
		if errors.Is(err, vault.ErrNotFound) {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		unseen, err := tx.Unseen(root)
		if err != nil {
			return err
		}
		for _, m := range unseen {
			marked = true
			m.Seen = true
			if err := tx.SetMessage(m); err != nil {
				return err
			}
			if contact.State != vault.ContactAccepted {
				continue
			}
			if err := tx.AddReceipt(vault.Receipt{Peer: root, Message: m.Remote, Kind: vault.ReceiptRead, Due: c.receiptDue()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !marked {
		return err
	}
	c.kickReceipts.kick()
	c.hub.publish(Event{Type: EventChat, Peer: identity.AccountID{Root: root}.String()})
	return nil
}
