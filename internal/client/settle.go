package client

import (
	"errors"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// Why a message failed, in words for people. They are stored.
const (
	reasonNoCard  = "Nobody with this ID can be found. It may be mistyped, or the account is new or has been away for more than two weeks."
	reasonExpired = "It could not be sent within two weeks."
	reasonRefused = "The nodes that keep this mailbox refused it."
	reasonLost    = "What was needed to send it is gone."
)

// settleAll records what became of attempts: those that succeeded in one
// transaction.
func (c *Client) settleAll(results []sent) (eager bool) {
	var done []vault.Entry
	for _, r := range results {
		if r.err == nil {
			done = append(done, r.entry)
		} else if c.settle(r) {
			eager = true
		}
	}
	if len(done) == 0 {
		return eager
	}
	c.stored(done)
	for _, e := range done {
		c.setSending(e.Message, false)
	}
	return c.clearFault() || eager
}

// settle records what became of an attempt that failed. It reports whether the pauses of
// other entries have lost their reason.
func (c *Client) settle(r sent) (eager bool) {
	e := r.entry
	defer c.setSending(e.Message, false)
	switch {
	case c.ctx.Err() != nil:
		return false
	case errors.Is(r.err, errExpired):
		c.fail(e, reasonExpired)
		return false
	case errors.Is(r.err, errLost):
		c.fail(e, reasonLost)
		return false
	case len(e.Envelope) == 0:
		return false // it went with its conversation
	}
	c.noteFault(r.err)
	e.Attempts++
	size, pause := 1, c.jitter(c.timing.backoff(e.Attempts-1))
	if a, err := c.addressOf(e); err == nil {
		size, pause = len(c.dir.Current().SwarmOf(a)), max(pause, c.rest(a))
	}
	if r.refused >= majority(size) && e.Attempts >= refusals {
		c.fail(e, reasonRefused)
		return false
	}
	e.Next = c.now().Add(pause).UnixMilli()
	_ = c.update(func(tx *vault.Tx) error { return tx.SetEntry(e) })
	return false
}

// addressOf returns the mailbox that an entry is put to.
func (c *Client) addressOf(e vault.Entry) (a mailbox.Address, _ error) {
	ch := c.channelOf(e.Conversation)
	if ch == nil {
		return a, errLost
	}
	d, err := c.destination(ch, e.Kind, identity.Period(e.Period))
	if err != nil {
		return a, err
	}
	return d.loc.Address(), nil
}

// permanent reports whether a member refuses in a way that asking again cannot
// mend. One may lie, so it only counts when a majority says so, repeatedly.
func permanent(err error) bool {
	var no *mailbox.Failure
	if !errors.As(err, &no) {
		return false
	}
	for _, e := range []error{mailbox.ErrTooLarge, mailbox.ErrBadSignature, mailbox.ErrForbidden, mailbox.ErrExpired, mailbox.ErrFormat, mailbox.ErrVersion} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// stored removes entries that a majority has, and moves their messages on.
func (c *Client) stored(entries []vault.Entry) {
	var moved []vault.Message
	err := c.update(func(tx *vault.Tx) error {
		moved = nil
		for _, e := range entries {
			if err := tx.DeleteEntry(e.Seq); err != nil {
				return err
			}
			m, err := tx.Message(e.Message)
			if errors.Is(err, vault.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if m.State >= vault.MessageStored {
				continue // its receipt was faster
			}
			m.State = vault.MessageStored
			moved = append(moved, m)
			if err := tx.SetMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	for _, m := range moved {
		c.setSending(m.ID, false)
		c.publishState(m)
	}
}

// fail gives an entry up. With a first contact falls its conversation, which
// the other side will never hear of, and all that waits on it.
func (c *Client) fail(e vault.Entry, reason string) {
	var failed []vault.Message
	err := c.update(func(tx *vault.Tx) error {
		failed = nil
		entries := []vault.Entry{e}
		if e.Kind == vault.OutboxFirst {
			var err error
			if entries, err = tx.EntriesOf(e.Conversation); err != nil {
				return err
			}
			if err := tx.DeleteConversation(e.Conversation); err != nil {
				return err
			}
		}
		for _, x := range entries {
			if err := tx.DeleteEntry(x.Seq); err != nil {
				return err
			}
			m, err := tx.Message(x.Message)
			if errors.Is(err, vault.ErrNotFound) || err == nil && m.State >= vault.MessageStored {
				continue
			}
			if err != nil {
				return err
			}
			m.State, m.Reason = vault.MessageFailed, reason
			failed = append(failed, m)
			if err := tx.SetMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	if e.Kind == vault.OutboxFirst {
		c.mu.Lock()
		delete(c.channels, e.Conversation)
		c.mu.Unlock()
		c.kickPlan.kick()
	}
	for _, m := range failed {
		c.setSending(m.ID, false)
		c.publishState(m)
	}
}

// failQueued gives up the messages to a peer that no conversation was found for.
func (c *Client) failQueued(peer [32]byte, reason string) {
	var failed []vault.Message
	err := c.update(func(tx *vault.Tx) error {
		queued, err := tx.Unsealed(peer)
		if err != nil {
			return err
		}
		failed = nil
		for _, m := range queued {
			m.State, m.Reason = vault.MessageFailed, reason
			if err := tx.SetMessage(m); err != nil {
				return err
			}
			failed = append(failed, m)
		}
		return nil
	})
	if err == nil {
		for _, m := range failed {
			c.publishState(m)
		}
	}
}

// setSending notes that a message is on its way. It is not written down: after
// a crash it counts as queued again, which is as true.
func (c *Client) setSending(id [16]byte, on bool) {
	if id == ([16]byte{}) {
		return
	}
	c.mu.Lock()
	was := c.sending[id]
	if on {
		c.sending[id] = true
	} else {
		delete(c.sending, id)
	}
	c.mu.Unlock()
	if !on || was {
		return
	}
	var m vault.Message
	err := c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		m, err = tx.Message(id)
		return err
	})
	if err == nil && m.State == vault.MessageQueued {
		c.publishState(m)
	}
}
