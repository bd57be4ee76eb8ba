package client

import (
	"context"
	"errors"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

// Why a message failed, in words for people. They are stored.
const (
	reasonNoCard  = "Nobody with this ID can be found. It may be mistyped, or the account is new or has been away for more than two weeks."
	reasonExpired = "It could not be sent within two weeks."
	reasonRefused = "The nodes that keep this mailbox refused it."
	reasonLost    = "What was needed to send it is gone."
)

// sent is what became of one attempt.
type sent struct {
	entry   vault.Entry
	refused int
	err     error
}

// queue is the outbox at work: which entries are on their way, and to which
// mailbox. It belongs to outboxLoop alone.
type queue struct {
	busy  map[int64]bool
	boxes map[[32]byte]int
}

// outboxLoop sends what is in the outbox, oldest first, until each entry has a
// majority's receipts (spec/client.md §5.3). The entries survive a crash, and
// putting one twice changes nothing.
func (c *Client) outboxLoop() {
	q := queue{busy: map[int64]bool{}, boxes: map[[32]byte]int{}}
	done := make(chan sent)
	defer func() {
		for range q.busy {
			<-done
		}
	}()
	for {
		next := c.dispatch(&q, done, c.takeEager())
		var timer *time.Timer
		var after <-chan time.Time
		if next >= 0 {
			timer = time.NewTimer(next)
			after = timer.C
		}
		select {
		case <-c.ctx.Done():
		case <-c.kickOutbox:
		case <-after:
		case r := <-done:
			delete(q.busy, r.entry.Seq)
			q.boxes[r.entry.Conversation]--
			if q.boxes[r.entry.Conversation] == 0 {
				delete(q.boxes, r.entry.Conversation)
			}
			if c.settle(r) {
				c.wakeOutbox()
			}
			c.broadcast()
		}
		if timer != nil {
			timer.Stop()
		}
		if c.ctx.Err() != nil {
			return
		}
	}
}

// dispatch starts what is due and has a place, and returns when to look again
// (negative: when something happens). eager ignores pauses: the network is back.
func (c *Client) dispatch(q *queue, done chan<- sent, eager bool) time.Duration {
	now := c.nowMilli()
	wake := int64(-1)
	after := int64(0)
	for {
		var page []vault.Entry
		err := c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
			page, err = tx.Entries(after, entryBatch)
			return err
		})
		if err != nil {
			return c.timing.retryMax
		}
		for _, e := range page {
			after = e.Seq
			if q.busy[e.Seq] || len(q.busy) >= maxSending || q.boxes[e.Conversation] >= perMailbox {
				continue
			}
			if e.Next > now && !eager {
				if wake < 0 || e.Next < wake {
					wake = e.Next
				}
				continue
			}
			q.busy[e.Seq] = true
			q.boxes[e.Conversation]++
			c.goDo(func() {
				refused, err := 0, c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
					e, err = tx.Entry(e.Seq)
					return err
				})
				if err == nil {
					refused, err = c.attempt(&e)
				}
				done <- sent{entry: e, refused: refused, err: err}
			})
		}
		if len(page) < entryBatch || len(q.busy) >= maxSending {
			break
		}
	}
	if wake < 0 {
		return -1
	}
	return time.Duration(max(wake-now, 1)) * time.Millisecond
}

var (
	errExpired = errors.New("client: entry expired")
	errLost    = errors.New("client: keys of the entry are gone")
)

// attempt puts an entry once. It may change e: an entry whose period has passed
// is sealed again for the present one, and that is on disk before it leaves.
func (c *Client) attempt(e *vault.Entry) (refused int, err error) {
	ch := c.channelOf(e.Conversation)
	if ch == nil {
		return 0, errLost
	}
	now := c.now()
	if now.Sub(time.UnixMilli(e.Created)) > mailbox.MaxTTL {
		return 0, errExpired
	}
	dest, err := c.destination(ch, e.Kind, identity.Period(e.Period))
	if err != nil {
		return 0, errLost
	}
	if p := c.presentPeriod(ch, e.Kind, now); p != identity.Period(e.Period) {
		if dest, err = c.reseal(ch, e, dest, p, now); err != nil {
			return 0, err
		}
	}
	if e.Message != ([16]byte{}) {
		c.setSending(e.Message, true)
	}
	return c.put(c.ctx, dest.target, func(ctx context.Context, node identity.NodeID) (*mailbox.Put, error) {
		p := &mailbox.Put{Locator: dest.loc, Expiry: e.Expiry, Envelope: e.Envelope}
		p.Sign(dest.write, nil)
		if dest.loc.Kind != mailbox.KindFrontDoor {
			return p, nil
		}
		addr := p.Address()
		w, err := c.work(ctx, dest.route, node, mailbox.PutPurpose(addr, mailbox.EnvelopeDigest(addr, p.Envelope)))
		p.Work = &w
		return p, err
	})
}

// destination is where an entry goes, and the keys for it.
type destination struct {
	target
	write suite.SigningKey
	key   suite.Key
}

func (c *Client) presentPeriod(ch *channel, kind vault.OutboxKind, now time.Time) identity.Period {
	if kind == vault.OutboxFirst {
		return identity.PeriodAt(now)
	}
	return ch.period(now)
}

func (c *Client) destination(ch *channel, kind vault.OutboxKind, p identity.Period) (d destination, err error) {
	d.route, d.bytes = route{iso: sendUse(c.number)}, mailboxBytes
	if kind == vault.OutboxFirst {
		d.loc, err = mailbox.FrontDoor(ch.peer, p)
		d.write, d.key = identity.FrontDoorShared(ch.peer, p), identity.FrontDoorKey(ch.peer, p)
		d.until = p.End().Add(mailbox.MaxTTL)
		return d, err
	}
	box, err := ch.box(p, true)
	d.loc, d.write, d.key = box.Locator, box.Write, box.Key
	d.until = ch.ends(p).Add(mailbox.MaxTTL)
	return d, err
}

// reseal moves an entry to the mailbox of another period: the same message
// under another outer layer, so no key of the ratchet is used again.
func (c *Client) reseal(ch *channel, e *vault.Entry, from destination, p identity.Period, now time.Time) (to destination, err error) {
	if to, err = c.destination(ch, e.Kind, p); err != nil {
		return to, errLost
	}
	old, addr := from.loc.Address(), to.loc.Address()
	var sealed []byte
	if e.Kind == vault.OutboxFirst {
		first, err := mailbox.OpenFirst(from.key, old, e.Envelope)
		if err != nil {
			return to, errLost
		}
		if sealed, err = mailbox.SealFirst(c.rand, to.key, addr, first); err != nil {
			return to, err
		}
	} else {
		inner, err := mailbox.OpenEnvelope(from.key, old, e.Envelope)
		if err != nil {
			return to, errLost
		}
		if sealed, err = mailbox.SealEnvelope(c.rand, to.key, addr, inner); err != nil {
			return to, err
		}
	}
	e.Period, e.Envelope, e.Expiry = uint64(p), sealed, expiry(now)
	return to, c.update(func(tx *vault.Tx) error { return tx.SetEntry(*e) })
}

// settle records what became of an attempt. It reports whether the pauses of
// other entries have lost their reason.
func (c *Client) settle(r sent) (eager bool) {
	e := r.entry
	defer c.setSending(e.Message, false)
	switch {
	case r.err == nil:
		c.stored(e)
		return c.clearFault()
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
	size := 1
	if d, err := c.sizeOfSwarm(e); err == nil {
		size = d
	}
	if r.refused >= majority(size) && e.Attempts >= refusals && permanent(r.err) {
		c.fail(e, reasonRefused)
		return false
	}
	e.Next = c.now().Add(c.jitter(c.timing.backoff(e.Attempts - 1))).UnixMilli()
	_ = c.update(func(tx *vault.Tx) error { return tx.SetEntry(e) })
	return false
}

func (c *Client) sizeOfSwarm(e vault.Entry) (int, error) {
	ch := c.channelOf(e.Conversation)
	if ch == nil {
		return 0, errLost
	}
	d, err := c.destination(ch, e.Kind, identity.Period(e.Period))
	if err != nil {
		return 0, err
	}
	return len(c.dir.Current().SwarmOf(d.loc.Address())), nil
}

// permanent reports whether asking again cannot help. One member may lie, so it
// only counts when a majority says so, repeatedly.
func permanent(err error) bool {
	for _, e := range []error{mailbox.ErrTooLarge, mailbox.ErrBadSignature, mailbox.ErrForbidden, mailbox.ErrExpired, mailbox.ErrFormat, mailbox.ErrVersion} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// stored removes an entry that a majority has, and moves its message on.
func (c *Client) stored(e vault.Entry) {
	var m vault.Message
	moved := false
	err := c.update(func(tx *vault.Tx) error {
		moved = false
		if err := tx.DeleteEntry(e.Seq); err != nil {
			return err
		}
		var err error
		if m, err = tx.Message(e.Message); errors.Is(err, vault.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if m.State >= vault.MessageStored {
			return nil // its receipt was faster
		}
		moved, m.State = true, vault.MessageStored
		return tx.SetMessage(m)
	})
	if err == nil && moved {
		c.setSending(e.Message, false)
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

// wakeOutbox makes the outbox try everything now, whatever pauses it keeps.
func (c *Client) wakeOutbox() {
	c.mu.Lock()
	c.eager = true
	c.mu.Unlock()
	c.kickOutbox.kick()
}

func (c *Client) takeEager() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.eager
	c.eager = false
	return was
}
