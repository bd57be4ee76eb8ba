package client

import (
	"errors"
	"time"

	"sotto/internal/vault"
)

// receiptLoop sends receipts when their random moment has come, those of one
// contact together (spec/client.md §5.7).
func (c *Client) receiptLoop() {
	for {
		d := c.sendReceipts()
		if !c.wait(c.kickReceipts, d) {
			return
		}
	}
}

// sendReceipts seals what is due and returns how long the next one waits;
// negative if there is none.
func (c *Client) sendReceipts() time.Duration {
	var due map[[32]byte]int64
	err := c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		due, err = tx.ReceiptPeers()
		return err
	})
	if err != nil {
		return c.timing.retryMax
	}
	wake := time.Duration(-1)
	for peer, at := range due {
		if d := time.Duration(at-c.nowMilli()) * time.Millisecond; d > 0 {
			if wake < 0 || d < wake {
				wake = d
			}
			continue
		}
		if c.update(func(tx *vault.Tx) error { return c.sealReceipts(tx, peer) }) != nil {
			return c.timing.retryMax
		}
		c.kickOutbox.kick()
		wake = 0 // more than one envelope's worth may have waited
	}
	c.broadcast()
	return wake
}

func (c *Client) sealReceipts(tx *vault.Tx, peer [32]byte) error {
	contact, err := tx.Contact(peer)
	if err != nil {
		return err
	}
	t := &content{Type: typeReceipts}
	if err := takeReceipts(tx, peer, maxReceipts, t); err != nil {
		return err
	}
	conv, err := tx.SendingConversation(peer)
	if errors.Is(err, vault.ErrNotFound) || contact.State != vault.ContactAccepted || len(t.Receipts) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return c.seal(tx, conv, vault.OutboxReceipts, [16]byte{}, t)
}
