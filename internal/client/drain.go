package client

import (
	"context"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

func newTimer(d time.Duration) *time.Timer { return time.NewTimer(max(d, 0)) }

// drainOld reads periods that are over to their end, oldest first, and notes
// each one that is done, so that it is not read again.
func (c *Client) drainOld(ctx context.Context, in inbox, old []identity.Period) {
	for _, p := range old {
		for n := uint32(0); ; n++ {
			_, err := in.credential(p)
			if err != nil {
				break // its keys are gone: nothing there can be read
			}
			if err = c.drain(ctx, in, p); err == nil {
				break
			}
			c.noteFault(err)
			timer := newTimer(c.jitter(c.timing.backoff(n)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
		if ctx.Err() != nil || c.update(func(tx *vault.Tx) error { return in.setRead(tx, p+1) }) != nil {
			return
		}
	}
}

// drain reads a mailbox to its end at a majority of its swarm, which meets the
// majority that every acknowledged envelope lies at, and returns when all of
// it is in the vault.
func (c *Client) drain(ctx context.Context, in inbox, p identity.Period) error {
	t, _, err := c.readTarget(in, p, 0)
	if err != nil {
		return err
	}
	nodes := c.order(t.loc.Address())
	results := make(chan error, len(nodes))
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(ctx, 2*c.timing.attempt)
	defer cancel()
	for i, n := range nodes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := c.drainAt(ctx, in, p, i, n)
			c.report(ctx, n.ID, err)
			results <- err
		}()
	}
	ok := 0
	for range nodes {
		if err := <-results; err == nil {
			ok++
		}
		if ok >= majority(len(nodes)) {
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errDrain
}

func (c *Client) drainAt(ctx context.Context, in inbox, p identity.Period, replica int, n directory.Node) error {
	t, boxKey, err := c.readTarget(in, p, replica%replicas)
	if err != nil {
		return err
	}
	key, err := in.credential(p)
	if err != nil {
		return err
	}
	a := t.loc.Address()
	from, err := c.cursor(ctx, a, n.ID)
	if err != nil {
		return err
	}
	return c.fetch(ctx, t, key, n.ID, from, func(b *mailbox.Batch) error {
		if len(b.Items) == 0 {
			return nil
		}
		done := make(chan struct{})
		select {
		case c.arrivals <- arrival{in: in, period: p, addr: a, key: boxKey, node: n.ID, items: b.Items, cursor: b.Next, done: done}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Sync waits until all mailboxes have been read up to what is there now. A
// first contact that is found makes mailboxes of its own to read, so the front
// door comes first.
func (c *Client) Sync(ctx context.Context) error {
	ctx, cancel := c.joined(ctx)
	defer cancel()
	if err := c.drainAll(ctx, c.readable(frontDoor{c})); err != nil {
		return err
	}
	var todo []watchKey
	for _, ch := range c.shuffled() {
		todo = append(todo, c.readable(conversationInbox{ch})...)
	}
	return c.drainAll(ctx, todo)
}

func (c *Client) readable(in inbox) (out []watchKey) {
	live, old := watched(in, c.now())
	for _, p := range append(old, live...) {
		out = append(out, watchKey{in.id(), p})
	}
	return out
}

// maxDrains bounds how many mailboxes Sync reads at a time.
const maxDrains = 8

func (c *Client) drainAll(ctx context.Context, todo []watchKey) error {
	places := make(chan struct{}, maxDrains)
	results := make(chan error, len(todo))
	for _, key := range todo {
		places <- struct{}{}
		go func() {
			results <- c.syncOne(ctx, key)
			<-places
		}()
	}
	var first error
	for range todo {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// syncOne drains one mailbox until it succeeds or ctx ends.
func (c *Client) syncOne(ctx context.Context, key watchKey) error {
	for n := uint32(0); ; n++ {
		in := c.inboxOf(key.inbox)
		if in == nil {
			return nil
		}
		if _, err := in.credential(key.period); err != nil {
			return nil // before our time
		}
		err := c.drain(ctx, in, key.period)
		if err == nil {
			return nil
		}
		c.noteFault(err)
		timer := newTimer(c.jitter(c.timing.backoff(n)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// joined returns a context that ends with ctx and with the client.
func (c *Client) joined(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrLocked) })
	return ctx, func() { stop(); cancel(nil) }
}

// Flush waits until nothing is left to send: messages are stored or failed,
// receipts have left, and our own card lies where others look for it.
func (c *Client) Flush(ctx context.Context) error {
	ctx, cancel := c.joined(ctx)
	defer cancel()
	for {
		changed := c.change()
		left := false
		err := c.vault.View(ctx, func(tx *vault.Tx) error {
			n, err := tx.CountEntries()
			if err != nil {
				return err
			}
			peers, err := tx.UnsealedPeers()
			if err != nil {
				return err
			}
			receipts, err := tx.ReceiptPeers()
			left = n > 0 || len(peers) > 0 || len(receipts) > 0 || !c.hasCard()
			return err
		})
		if err != nil || !left {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hasCard reports whether the card of the current period is published.
func (c *Client) hasCard() bool {
	own := c.ownPeriodAt(identity.PeriodAt(c.now()))
	return own != nil && own.row.CardUntil != 0
}

// change returns a channel that is closed when something has left.
func (c *Client) change() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *Client) broadcast() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}
