package client

import (
	"context"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// deleteLoop deletes from the swarms what is safe in the vault, gathered for a
// while, since nothing waits for it (spec/client.md §5.8).
func (c *Client) deleteLoop() {
	failures := uint32(0)
	for {
		d := time.Duration(-1)
		if failures > 0 {
			d = c.jitter(c.timing.backoff(failures))
		}
		if !c.wait(c.kickDelete, d) || !c.sleep(c.jitter(c.timing.tombstones)) {
			return
		}
		for {
			done, err := c.deleteSome()
			if err != nil {
				failures++
				break
			}
			failures = 0
			if done {
				break
			}
		}
	}
}

// deleteSome sends the tombstones of one mailbox.
func (c *Client) deleteSome() (done bool, _ error) {
	var all []vault.Tombstone
	err := c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		all, err = tx.Tombstones(mailbox.MaxDigests)
		return err
	})
	if err != nil || len(all) == 0 {
		return true, err
	}
	group := all[:1]
	for _, s := range all[1:] {
		if s.Owner != group[0].Owner || s.Period != group[0].Period {
			break
		}
		group = all[:len(group)+1]
	}
	if err := c.bury(group); err != nil && c.worthDeleting(group) {
		return false, err
	}
	return false, c.update(func(tx *vault.Tx) error {
		for _, s := range group {
			if err := tx.DeleteTombstone(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// worthDeleting reports whether there is still a mailbox to delete from.
func (c *Client) worthDeleting(group []vault.Tombstone) bool {
	in := c.inboxOf(group[0].Owner)
	if in == nil {
		return false
	}
	_, err := in.credential(identity.Period(group[0].Period))
	return err == nil && group[0].Expiry > uint64(c.now().Unix())
}

func (c *Client) bury(group []vault.Tombstone) error {
	p := identity.Period(group[0].Period)
	in := c.inboxOf(group[0].Owner)
	if in == nil {
		return errLost
	}
	key, err := in.credential(p)
	if err != nil {
		return err
	}
	t, _, err := c.readTarget(in, p, 0)
	if err != nil {
		return err
	}
	d := &mailbox.Delete{Locator: t.loc}
	for _, s := range group {
		d.Digests = append(d.Digests, s.Digest)
		d.Expiry = max(d.Expiry, s.Expiry)
	}
	d.Expiry = nextHour(d.Expiry)
	d.Sign(key.signer, key.cert)
	_, err = c.each(c.ctx, t, func(ctx context.Context, n directory.Node) error {
		resp, err := c.call(ctx, t, n.ID, fixed(d))
		if err != nil {
			return err
		}
		if _, ok := resp.(*mailbox.Deleted); !ok {
			return unexpected(resp)
		}
		return nil
	})
	return err
}

func (c *Client) inboxOf(owner [32]byte) inbox {
	if owner == ([32]byte{}) {
		return frontDoor{c}
	}
	if ch := c.channelOf(owner); ch != nil {
		return conversationInbox{ch}
	}
	return nil
}
