package client

import (
	"context"
	"errors"

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
	for {
		err := c.prepareAll()
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
		if !c.wait(c.kickPrepare, pause) {
			return
		}
	}
}

func (c *Client) prepareAll() (first error) {
	now := c.now()
	for _, ch := range c.allChannels() {
		current := ch.period(now, true)
		for _, p := range []identity.Period{current, ch.period(now.Add(openAhead), true)} {
			if err := c.prepare(ch, p); err != nil && !errors.Is(err, mailbox.ErrErased) && first == nil {
				first = err
			}
			if c.ctx.Err() != nil {
				return c.ctx.Err()
			}
		}
	}
	return first
}

func (c *Client) prepare(ch *channel, p identity.Period) error {
	d, err := c.destination(ch, vault.OutboxMessage, p)
	if err != nil {
		return err
	}
	a := d.loc.Address()
	nodes := c.order(a)
	for _, n := range nodes[:min(len(nodes), replicas)] {
		ctx, cancel := context.WithTimeout(c.ctx, c.timing.attempt)
		err := c.warm(ctx, d.route, n.ID)
		cancel()
		c.report(c.ctx, n.ID, err)
		if err != nil {
			return err
		}
	}
	var until uint64
	err = c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		until, err = tx.OpenedUntil(a)
		return err
	})
	if err != nil || until >= uint64(d.until.Unix()) {
		return err
	}
	t := d.target
	if _, err = c.each(c.ctx, t, func(ctx context.Context, n directory.Node) error { return c.open(ctx, t, n.ID) }); err != nil {
		return err
	}
	return c.update(func(tx *vault.Tx) error { return tx.SetOpened(a, uint64(d.until.Unix())) })
}
