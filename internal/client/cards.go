package client

import (
	"context"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// settingRestored is set while cards of an earlier device may lie about.
const settingRestored = "account/restored"

// cardLoop keeps cards and front doors in the network for the current and the
// next periods, and moves everything on that has a period (spec/client.md §5.9).
func (c *Client) cardLoop() {
	failures := uint32(0)
	for {
		err := c.renewPeriods()
		if err == nil {
			err = c.advance()
		}
		if err == nil {
			c.kickPlan.kick()
			err = c.publishAll()
		}
		if c.ctx.Err() != nil {
			return
		}
		pause := c.timing.tick
		if err != nil {
			failures++
			c.noteFault(err)
			pause = min(pause, c.jitter(c.timing.backoff(failures)))
		} else {
			failures = 0
		}
		if !c.wait(c.kickCards, pause) {
			return
		}
	}
}

// publishAll publishes what is missing: the current period at once, the next
// ones at moments of their own and over different lanes, so that their coming
// together does not join the addresses.
func (c *Client) publishAll() error {
	current := identity.PeriodAt(c.now())
	var first error
	for p := current; p <= current+identity.CardPeriodsAhead; p++ {
		own := c.ownPeriodAt(p)
		if own == nil || own.row.CardUntil != 0 && own.row.DoorUntil != 0 {
			continue
		}
		if p > current && !c.sleep(c.random(0, c.timing.spread)) {
			return c.ctx.Err()
		}
		if err := c.publish(p, own); err != nil && first == nil {
			if p == current {
				return err
			}
			first = err
		}
	}
	if first == nil {
		return c.setRestored(false)
	}
	return first
}

// publish opens a period's front door and puts its card.
func (c *Client) publish(p identity.Period, own *ownPeriod) error {
	row := own.row
	if row.DoorUntil == 0 {
		loc, until, _, err := frontDoor{c}.box(p)
		if err != nil {
			return err
		}
		t := target{route: c.publishRoute(p), loc: loc, bytes: mailboxBytes, until: until}
		_, err = c.each(c.ctx, t, func(ctx context.Context, n directory.Node) error { return c.open(ctx, t, n.ID) })
		if err != nil {
			return err
		}
		row.DoorUntil = uint64(until.Unix())
	}
	if row.CardUntil == 0 {
		until, err := c.putCard(p, own)
		if err != nil {
			return err
		}
		row.CardUntil = uint64(until.Unix())
	}
	err := c.update(func(tx *vault.Tx) error {
		stored := row
		stored.Secrets = own.secrets.Encode()
		return tx.SetPeriod(stored)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.periods[p] = &ownPeriod{row: row, secrets: own.secrets}
	c.mu.Unlock()
	c.broadcast()
	return nil
}

func (c *Client) publishRoute(p identity.Period) route {
	return route{iso: receiveUse(c.number, uint8(p))}
}

func (c *Client) putCard(p identity.Period, own *ownPeriod) (until time.Time, err error) {
	loc, err := mailbox.CardBox(c.root, p)
	if err != nil {
		return until, err
	}
	sealed, err := identity.SealCard(c.rand, c.root, p, own.secrets.Card(c.persona.Base().Public()))
	if err != nil {
		return until, err
	}
	until = p.End().Add(cardOverlap)
	if latest := c.now().Add(mailbox.MaxCardTTL); until.After(latest) {
		until = latest
	}
	expiry := wholeHour(until)
	t := target{route: c.publishRoute(p), loc: loc, bytes: cardBytes, until: until}
	put := &mailbox.Put{Locator: loc, Expiry: expiry, Envelope: sealed}
	put.Sign(own.secrets.Key, &own.secrets.Certificate)
	_, err = c.put(c.ctx, t, func(context.Context) (*mailbox.Put, error) { return put, nil })
	if err != nil {
		return until, err
	}
	return until, c.replaceCards(p, own, t, put)
}

// cardOverlap is how long a card outlives its period: overlap, to a whole hour.
const cardOverlap = time.Hour

// cardBytes is room for a card a device, and for those of earlier devices.
const cardBytes = 64 << 10

// replaceCards deletes the cards of an earlier device of a restored account:
// nobody can read what is sent to them any more.
func (c *Client) replaceCards(p identity.Period, own *ownPeriod, t target, put *mailbox.Put) error {
	restored, err := c.restored()
	if err != nil || !restored {
		return err
	}
	mine := mailbox.EnvelopeDigest(put.Address(), put.Envelope)
	d := &mailbox.Delete{Locator: t.loc}
	key := credential{signer: identity.CardShared(c.root, p)}
	_, err = c.each(c.ctx, t, func(ctx context.Context, n directory.Node) error {
		d.Digests, d.Expiry = nil, 0
		return c.fetch(ctx, t, key, n.ID, mailbox.Cursor{}, func(b *mailbox.Batch) error {
			for _, it := range b.Items {
				if it.Digest != mine && len(d.Digests) < mailbox.MaxDigests {
					d.Digests = append(d.Digests, it.Digest)
					d.Expiry = max(d.Expiry, it.Expiry)
				}
			}
			return nil
		})
	})
	if err != nil || len(d.Digests) == 0 {
		return err
	}
	d.Expiry = nextHour(min(d.Expiry, wholeHour(c.now().Add(mailbox.MaxCardTTL))))
	d.Sign(own.secrets.Key, &own.secrets.Certificate)
	_, err = c.each(c.ctx, t, func(ctx context.Context, n directory.Node) error {
		_, err := c.call(ctx, t, n.ID, fixed(d))
		return err
	})
	return err
}

func (c *Client) restored() (yes bool, err error) {
	err = c.vault.View(c.ctx, func(tx *vault.Tx) error {
		n, err := tx.Number(settingRestored)
		yes = n != 0
		return err
	})
	return yes, err
}

func (c *Client) setRestored(on bool) error {
	if was, err := c.restored(); err != nil || was == on {
		return err
	}
	return c.update(func(tx *vault.Tx) error { return tx.SetSetting(settingRestored, nil) })
}
