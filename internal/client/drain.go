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

// maxDrains bounds how many inboxes are read to their end at a time: enough to
// hide the round trip, so that hundreds take less than a minute, and no more
// than a few streams to a circuit each moment.
const maxDrains = 16

// place waits for one of maxDrains; free gives it back. Those that wait come in
// the order in which they began to, which is a random one.
func (c *Client) place(ctx context.Context) (free func(), ok bool) {
	select {
	case c.places <- struct{}{}:
		return func() { <-c.places }, true
	case <-ctx.Done():
		return nil, false
	}
}

// drainOld reads periods that are over to their end, oldest first. tried is
// called when all was read at a majority, or failed for the first time. Each one
// that is done is then read at its other members, and noted, so that it is not
// read again.
func (c *Client) drainOld(ctx context.Context, in inbox, old []identity.Period, tried func()) {
	for n := uint32(0); len(old) > 0; n++ {
		free, ok := c.place(ctx)
		if !ok {
			return
		}
		done, err := c.drainAllOf(ctx, in, old)
		free()
		tried()
		if ctx.Err() != nil || c.finishAll(ctx, in, old, done) != nil {
			return
		}
		old = old[len(done):]
		if err == nil {
			return
		}
		c.noteFault(err)
		if !c.pause(ctx, c.jitter(c.timing.backoff(n))) {
			return
		}
	}
}

// nodeSet is the members that a mailbox was read at.
type nodeSet map[identity.NodeID]bool

// drainAllOf reads one period after the other until one fails, and returns at
// which members those were read that are done.
func (c *Client) drainAllOf(ctx context.Context, in inbox, old []identity.Period) (done []nodeSet, _ error) {
	for _, p := range old {
		var read nodeSet
		if _, err := in.credential(p); err == nil { // else its keys are gone: nothing there can be read
			if read, err = c.drain(ctx, in, p); err != nil {
				return done, err
			}
		}
		done = append(done, read)
	}
	return done, nil
}

// finishAll reads periods that a majority has shown at the other members too,
// each at a moment of its own, since nothing waits for it, and notes them as
// read for ever: the one member that a majority has in common with those that
// signed for an envelope may be a liar.
func (c *Client) finishAll(ctx context.Context, in inbox, old []identity.Period, done []nodeSet) error {
	for i, read := range done {
		if read != nil {
			if !c.pause(ctx, c.random(0, c.timing.second)) {
				return ctx.Err()
			}
			c.drainOthers(ctx, in, old[i], read)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.update(func(tx *vault.Tx) error { return in.setRead(tx, old[i]+1) }); err != nil {
			return err
		}
		c.witness.drained(watchKey{in.id(), old[i]})
	}
	return nil
}

// drainOthers reads a mailbox at those of its members that it was not read at,
// if they answer.
func (c *Client) drainOthers(ctx context.Context, in inbox, p identity.Period, read nodeSet) {
	t, _, err := c.readTarget(in, p, 0)
	if err != nil {
		return // its keys went meanwhile
	}
	for i, n := range c.order(t.loc.Address()) {
		if read[n.ID] || ctx.Err() != nil {
			continue
		}
		one, cancel := context.WithTimeout(ctx, c.timing.attempt)
		c.report(ctx, t.at(n.ID), c.drainAt(one, in, p, i, n))
		cancel()
	}
}

// drain reads a mailbox to its end at a majority of its swarm, which meets the
// majority that every acknowledged envelope lies at, and returns when all of
// it is in the vault, with the members that have shown it. More members are
// asked only in the place of those that fail or are slow.
func (c *Client) drain(ctx context.Context, in inbox, p identity.Period) (nodeSet, error) {
	t, _, err := c.readTarget(in, p, 0)
	if err != nil {
		return nil, err
	}
	nodes := c.order(t.loc.Address())
	if len(nodes) == 0 {
		return nil, errNoSwarm
	}
	type result struct {
		node identity.NodeID
		err  error
	}
	results := make(chan result, len(nodes))
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(ctx, 2*c.timing.attempt)
	defer cancel()
	next := 0
	more := func() {
		if next == len(nodes) {
			return
		}
		i, n := next, nodes[next]
		next++
		wg.Go(func() {
			err := c.drainAt(ctx, in, p, i, n)
			c.report(ctx, t.at(n.ID), err)
			results <- result{n.ID, err}
		})
	}
	need := majority(len(nodes))
	for range need {
		more()
	}
	hedge := newTimer(c.timing.hedge)
	defer hedge.Stop()
	read := nodeSet{}
	for answers := 0; answers < next; {
		select {
		case r := <-results:
			answers++
			if r.err != nil {
				more()
			} else if read[r.node] = true; len(read) == need {
				return read, nil
			}
		case <-hedge.C:
			more()
			hedge.Reset(c.timing.hedge)
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, errDrain
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
	if err := c.syncAll(ctx, []inbox{frontDoor{c}}); err != nil {
		return err
	}
	var all []inbox
	for _, ch := range c.shuffled() {
		all = append(all, conversationInbox{ch})
	}
	return c.syncAll(ctx, all)
}

// syncAll reads inboxes, each one's periods from the oldest on.
func (c *Client) syncAll(ctx context.Context, all []inbox) error {
	results := make(chan error, len(all))
	for _, in := range all {
		go func() {
			live, old := c.watched(in, c.now())
			var err error
			for _, p := range append(old, live...) {
				if err = c.syncOne(ctx, watchKey{in.id(), p}); err != nil {
					break
				}
			}
			results <- err
		}()
	}
	var first error
	for range all {
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
		free, ok := c.place(ctx)
		if !ok {
			return ctx.Err()
		}
		_, err := c.drain(ctx, in, key.period)
		free()
		if err == nil {
			return nil
		}
		c.noteFault(err)
		if !c.pause(ctx, c.jitter(c.timing.backoff(n))) {
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
