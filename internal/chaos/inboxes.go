package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// Inboxes are the accounts' own mailboxes, as their owner finds them at members
// without a cursor: as a client does that has nothing but its keys. What an
// application has taken was deleted, and must not be there.
type Inboxes struct {
	Read int `json:"read"` // mailboxes, each at all its members
	Left int `json:"left"` // envelopes at members that would be delivered again
}

// inboxes reads the accounts' mailboxes at all members, until nothing is left in
// any: clients delete a moment after they have taken. The daemons stop meanwhile
// for as long as it takes to read their vaults.
func (w *world) inboxes(ctx context.Context) (in Inboxes, err error) {
	var all []*box
	for _, a := range w.accounts {
		a.Kill()
		boxes, err := a.keys(ctx)
		if err = errors.Join(err, a.Start(ctx)); err != nil {
			return in, err
		}
		all = append(all, boxes...)
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.patience())
	defer cancel()
	in.Read = len(all)
	for {
		in.Left = 0
		for _, b := range all {
			n, err := w.leftovers(ctx, b)
			if err != nil {
				in.Left++ // what cannot be read may hold something
				w.log.Info("a mailbox cannot be read", "error", err)
			}
			in.Left += n
		}
		w.log.Info("read the accounts' mailboxes", "left", in.Left)
		if in.Left == 0 || !pause(ctx, time.Second) {
			return in, nil
		}
	}
}

// leftovers counts what members hold of a mailbox.
func (w *world) leftovers(ctx context.Context, b *box) (n int, err error) {
	for _, node := range w.exits.keepers(b) {
		m := &member{x: w.exits, id: node.ID}
		ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		held, failed := m.read(ask, b)
		cancel()
		m.close()
		if !errors.Is(failed, mailbox.ErrNotOpen) { // nobody wrote there yet
			err = errors.Join(err, failed)
		}
		for _, copies := range held {
			n += copies
		}
	}
	return n, err
}

// keys are the mailboxes in which others write to the account, with the keys of
// their owner.
func (a *account) keys(ctx context.Context) (out []*box, err error) {
	v, err := vault.Open(ctx, vault.Options{Dir: a.Profile}, []byte(passphrase))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	err = v.View(ctx, func(tx *vault.Tx) error {
		row, err := tx.Account()
		if err != nil {
			return err
		}
		seed, err := identity.SeedFromBytes(row.Seed)
		if err != nil {
			return err
		}
		conversations, err := tx.Conversations()
		if err != nil {
			return err
		}
		for _, c := range conversations {
			some, err := ownBoxes(c, seed.Persona(0).Base())
			if err != nil {
				return err
			}
			out = append(out, some...)
		}
		return nil
	})
	return out, err
}

// ownBoxes are the mailboxes of a conversation that the owner of base reads, of
// all periods that a run can touch.
func ownBoxes(row vault.Conversation, base *identity.BlindableKey) (out []*box, err error) {
	c, err := mailbox.ParseConversation(row.Secret)
	if err != nil {
		return nil, err
	}
	now := c.Period(time.Now(), !row.Initiator)
	for p := max(now-1, c.Oldest()); p <= now+1; p++ {
		b, err := c.Box(p, !row.Initiator, base.Public())
		if err != nil {
			return nil, err
		}
		owner, err := c.Owner(p, !row.Initiator, base)
		if err != nil {
			return nil, err
		}
		if owner.Public() != b.Locator.Owner {
			return nil, fmt.Errorf("chaos: the owner's key of a mailbox is another")
		}
		out = append(out, &box{Locator: b.Locator, owner: owner})
	}
	return out, nil
}
