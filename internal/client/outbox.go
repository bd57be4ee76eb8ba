package client

import (
	"context"
	"errors"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
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

func (q *queue) leave(e vault.Entry) {
	delete(q.busy, e.Seq)
	if q.boxes[e.Conversation]--; q.boxes[e.Conversation] == 0 {
		delete(q.boxes, e.Conversation)
	}
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
			// While the disk was busy others have finished: one transaction for
			// all that are stored.
			results := []sent{r}
			for more := true; more; {
				select {
				case r := <-done:
					results = append(results, r)
				default:
					more = false
				}
			}
			for _, r := range results {
				q.leave(r.entry)
			}
			if c.settleAll(results) {
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
	ch := c.committedChannel(e.Conversation)
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
	return c.put(c.ctx, dest.target, func(ctx context.Context) (*mailbox.Put, error) {
		p := &mailbox.Put{Locator: dest.loc, Expiry: e.Expiry, Envelope: e.Envelope}
		p.Sign(dest.write, nil)
		if dest.loc.Kind != mailbox.KindFrontDoor {
			return p, nil
		}
		addr := p.Address()
		w, err := c.work(ctx, dest.target, mailbox.PutPurpose(addr, mailbox.EnvelopeDigest(addr, p.Envelope)))
		p.Work = &w
		return p, err
	})
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
