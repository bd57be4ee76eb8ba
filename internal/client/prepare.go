package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// prepareLoop does ahead of time what a message would otherwise wait for: the
// mailboxes that we write to are opened for the current and the next period,
// and the request keys of the members that we will ask are fetched.
func (c *Client) prepareLoop() {
	failures := uint32(0)
	next := time.Now().Add(c.random(0, c.timing.opening)) // before which no mailbox is opened
	for {
		open := !time.Now().Before(next)
		due, err := c.prepareAll(open)
		if c.ctx.Err() != nil {
			return
		}
		pause := c.timing.tick
		if err != nil {
			failures++
			pause = min(pause, c.jitter(c.timing.backoff(failures)))
		} else {
			failures = 0
		}
		if due > 0 {
			if open {
				next = time.Now().Add(c.random(0, min(c.timing.opening, c.timing.openings/time.Duration(due))))
			}
			if err == nil {
				pause = min(pause, max(time.Until(next), 0))
			}
		}
		if !c.wait(c.kickPrepare, pause) {
			return
		}
	}
}

// prepareAll fetches keys, and opens at most one mailbox, if it may: those that
// fell due while the client was away would else be opened together. due is how
// many are left.
func (c *Client) prepareAll(open bool) (due int, first error) {
	now := c.now()
	for _, ch := range c.shuffled() {
		current := ch.period(now, true)
		ahead := openAhead + c.moment(conversationInbox{ch}, current+1, 2, openSpread)
		for _, p := range slices.Compact([]identity.Period{current, ch.period(now.Add(ahead), true)}) {
			done, opened, asked, err := c.prepare(ch, p, now, open)
			open = open && !opened
			if !done {
				due++
			}
			if err != nil && !errors.Is(err, mailbox.ErrErased) && first == nil {
				first = err
			}
			// What is asked for within moments over one circuit shows one client.
			if asked && !c.sleep(c.random(0, c.timing.apart)) {
				return due, c.ctx.Err()
			}
		}
	}
	return due, first
}

// shuffled returns the conversations in random order, since a fixed one would
// show the same client again.
func (c *Client) shuffled() []*channel {
	all := c.openChannels()
	for i := len(all) - 1; i > 0; i-- {
		j := int(c.random(0, time.Duration(i)))
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// prepare opens the mailbox of a period, if it may, else fetches the request
// keys of the members that a put will ask first if the period is near. done says
// whether the mailbox is open, opened whether that was just now, and asked
// whether there was anything to do.
func (c *Client) prepare(ch *channel, p identity.Period, now time.Time, open bool) (done, opened, asked bool, _ error) {
	d, err := c.destination(ch, vault.OutboxMessage, p)
	if err != nil {
		return true, false, false, err
	}
	a := d.loc.Address()
	var until uint64
	err = c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		until, err = tx.OpenedUntil(a)
		return err
	})
	if err != nil {
		return false, false, false, err
	}
	done = until >= uint64(d.until.Unix())
	if !done && open {
		t := d.target
		if _, err = c.each(c.ctx, t, func(ctx context.Context, n directory.Node) error { return c.open(ctx, t, n.ID) }); err != nil {
			return false, true, true, err
		}
		return true, true, true, c.update(func(tx *vault.Tx) error { return tx.SetOpened(a, uint64(d.until.Unix())) })
	}
	if ch.ends(p-1, true).Sub(now) > overlap {
		return done, false, false, nil
	}
	asked, err = c.warmFirst(d.target)
	return done, false, asked, err
}

// warmFirst fetches the keys of the members that are asked first.
func (c *Client) warmFirst(t target) (asked bool, _ error) {
	nodes := c.order(t.loc.Address())
	for _, n := range nodes[:min(len(nodes), replicas)] {
		if c.keys.get(t.at(n.ID), c.now()) != nil {
			continue
		}
		asked = true
		ctx, cancel := context.WithTimeout(c.ctx, c.timing.attempt)
		err := c.warm(ctx, t, n.ID)
		cancel()
		c.report(c.ctx, t.at(n.ID), err)
		if err != nil {
			return true, err
		}
	}
	return asked, nil
}
