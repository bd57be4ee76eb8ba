package client

import (
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

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
	return ch.period(now, true)
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
	d.until = ch.ends(p, true).Add(mailbox.MaxTTL)
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
