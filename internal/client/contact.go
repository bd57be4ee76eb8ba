package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/ratchet"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

var errNoCard = errors.New("client: no card found")

// contactLoop makes first contact with those that messages wait for
// (spec/client.md §5.4), several at a time.
func (c *Client) contactLoop() {
	var (
		mu   sync.Mutex
		busy = map[[32]byte]bool{}
	)
	for ok := true; ok; ok = c.wait(c.kickContacts, -1) {
		for _, peer := range c.waitingPeers() {
			mu.Lock()
			running := busy[peer]
			busy[peer] = true
			mu.Unlock()
			if running {
				continue
			}
			c.goDo(func() {
				c.contact(peer)
				mu.Lock()
				delete(busy, peer)
				mu.Unlock()
				// A message may have come in between the end and its record.
				if c.ctx.Err() == nil && c.waiting(peer) {
					c.kickContacts.kick()
				}
			})
		}
	}
}

func (c *Client) waitingPeers() (out [][32]byte) {
	err := c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		out, err = tx.UnsealedPeers()
		return err
	})
	if err != nil && c.ctx.Err() == nil {
		c.log.Error("client: the vault cannot be read", "error", err)
	}
	return out
}

func (c *Client) waiting(peer [32]byte) bool {
	for _, p := range c.waitingPeers() {
		if p == peer {
			return true
		}
	}
	return false
}

// contact looks for a card until there is one or patience ends; while the
// network cannot be reached it goes on.
func (c *Client) contact(peer suite.VerifyKey) {
	var missing time.Time
	for n := uint32(0); c.ctx.Err() == nil; n++ {
		if c.reuse(peer) {
			return
		}
		if n == 0 {
			c.goDo(func() { c.warmDoor(peer) })
		}
		card, p, err := c.fetchCard(c.ctx, peer)
		if err == nil {
			err = c.introduce(peer, p, card)
			if err == nil {
				return
			}
		}
		c.noteFault(err)
		if !errors.Is(err, errNoCard) && !errors.Is(err, ratchet.ErrPrekeys) {
			missing = time.Time{}
		} else if missing.IsZero() {
			missing = c.now()
		} else if c.now().Sub(missing) >= c.timing.patience {
			c.failQueued(peer, reasonNoCard)
			return
		}
		if !c.sleep(c.jitter(c.timing.backoff(min(n, 4)))) {
			return
		}
	}
}

// warmDoor asks for the price of a first contact while its card is looked for.
func (c *Client) warmDoor(peer suite.VerifyKey) {
	loc, err := mailbox.FrontDoor(peer, identity.PeriodAt(c.now()))
	if err != nil {
		return
	}
	_, _ = c.price(c.ctx, target{route: route{iso: sendUse(c.number)}, loc: loc})
}

// reuse sends on a conversation that came into being meanwhile, because the
// other side wrote first.
func (c *Client) reuse(peer [32]byte) (done bool) {
	err := c.update(func(tx *vault.Tx) error {
		done = false
		conv, err := tx.SendingConversation(peer)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		contact, err := tx.Contact(peer)
		if err != nil {
			return err
		}
		done = true
		return c.sealQueued(tx, contact, conv)
	})
	if done {
		c.kickOutbox.kick()
	}
	return done || err != nil
}

// fetchCard returns the peer's card of the current period. It returns
// errNoCard only when a majority of the swarm has none.
func (c *Client) fetchCard(ctx context.Context, root suite.VerifyKey) (*identity.Card, identity.Period, error) {
	p := identity.PeriodAt(c.now())
	loc, err := mailbox.CardBox(root, p)
	if err != nil {
		return nil, p, err
	}
	t := target{route: route{iso: sendUse(c.number)}, loc: loc}
	key := credential{signer: identity.CardShared(root, p)}
	var mu sync.Mutex
	var best *identity.Card
	empty := 0
	_, err = c.each(ctx, t, func(ctx context.Context, n directory.Node) error {
		var found *identity.Card
		err := c.fetch(ctx, t, key, n.ID, mailbox.Cursor{}, func(b *mailbox.Batch) error {
			for _, it := range b.Items {
				card, err := identity.OpenCard(root, p, it.Envelope)
				if err == nil && newer(card, found, root) {
					found = card
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if found != nil {
			best = found
			return nil
		}
		if empty++; empty >= majority(len(c.dir.Current().SwarmOf(loc.Address()))) {
			return nil
		}
		return errNoCard // the next member may have it
	})
	if err != nil {
		return nil, p, err
	}
	if best == nil {
		return nil, p, errNoCard
	}
	return best, p, nil
}

// newer prefers the later of two cards: after more removals, or put later.
func newer(card, than *identity.Card, root suite.VerifyKey) bool {
	return than == nil || card.Certificate.Removals(root) >= than.Certificate.Removals(root)
}

// introduce makes a conversation and its session, and seals the first message
// and all that wait behind it, in one transaction.
func (c *Client) introduce(peer suite.VerifyKey, p identity.Period, card *identity.Card) error {
	own := c.ownPeriodAt(identity.PeriodAt(c.now()))
	if own == nil {
		return errNoPeriod
	}
	intro := own.secrets.Introduce(c.root, c.persona.Base().Public()).Encode()
	var ch *channel
	c.joining.Lock()
	defer c.joining.Unlock()
	err := c.update(func(tx *vault.Tx) error {
		ch = nil
		contact, err := tx.Contact(peer)
		if errors.Is(err, vault.ErrNotFound) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		queued, err := tx.Unsealed(peer)
		if err != nil || len(queued) == 0 {
			return err
		}
		m := queued[0]
		if err := number(tx, &contact, &m); err != nil {
			return err
		}
		if err := tx.SetContact(contact); err != nil {
			return err
		}
		ch, err = c.invite(tx, peer, p, card, intro, m)
		if err != nil {
			return err
		}
		return c.sealQueued(tx, contact, ch.row)
	})
	if err != nil || ch == nil {
		return err
	}
	c.addChannel(ch)
	c.kickOutbox.kick()
	return nil
}

// invite writes the new conversation with its first message.
func (c *Client) invite(tx *vault.Tx, peer suite.VerifyKey, p identity.Period, card *identity.Card, intro []byte, m vault.Message) (*channel, error) {
	now := c.now()
	secret, err := mailbox.NewConversation(c.rand, now)
	if err != nil {
		return nil, err
	}
	o := opening{Invitation: secret.Invitation(), Created: now.UnixMilli(), Content: textOf(m).encode()}
	to := ratchet.Prekeys{Identity: card.Subject.Identity, Signed: card.Prekey, KEM: card.KEM, Period: uint64(p)}
	session, first, err := ratchet.Initiate(c.rand, c.persona.Identity(), intro, to, o.encode(), firstAD(peer))
	if err != nil {
		return nil, err
	}
	row := vault.Conversation{
		ID: secret.ID(), Peer: peer, Created: o.Created, Initiator: true, Base: card.Base, Device: card.Subject.Device,
		ReadPeriod: uint64(secret.Period(now.Add(-firstGap), false)), Secret: secret.Encode(),
	}
	row.ReadPeriod = max(row.ReadPeriod, uint64(secret.Oldest()))
	loc, err := mailbox.FrontDoor(peer, p)
	if err != nil {
		return nil, err
	}
	sealed, err := mailbox.SealFirst(c.rand, identity.FrontDoorKey(peer, p), loc.Address(), first)
	if err != nil {
		return nil, err
	}
	if err := tx.SetConversation(row); err != nil {
		return nil, err
	}
	if err := tx.SetSession(row.ID, row.Device, session.Encode()); err != nil {
		return nil, err
	}
	err = tx.AddEntry(&vault.Entry{
		Kind: vault.OutboxFirst, Message: m.ID, Conversation: row.ID, Period: uint64(p), Expiry: expiry(now),
		Created: now.UnixMilli(), Next: now.UnixMilli(), Envelope: sealed,
	})
	if err != nil {
		return nil, err
	}
	return c.newChannel(row)
}

// firstAD is what both sides of a first contact know beforehand.
func firstAD(recipient suite.VerifyKey) []byte {
	h := suite.Hash(labelFirst, recipient[:])
	return h[:]
}
