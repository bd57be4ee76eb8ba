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

// deleteLoop deletes from the swarms what is safe in the vault: one mailbox
// after another, in random order and with random pauses, since nothing waits
// for it and what is deleted within moments shows one client
// (spec/client.md §5.8). The front door has a loop of its own, and less time:
// what fills it keeps others out.
func (c *Client) deleteLoop(kick signal, door bool, apart time.Duration) {
	failures, pause := uint32(0), time.Duration(0) // some may be left from before
	for {
		if !c.wait(kick, pause) {
			return
		}
		failed := map[vault.TombstoneBox]bool{} // in this round; the others' turn comes all the same
		for {
			boxes, err := c.deletable(door, failed)
			if err != nil || len(boxes) == 0 {
				break
			}
			if !c.sleep(c.random(0, min(apart, c.timing.deleted/time.Duration(len(boxes))))) {
				return
			}
			box := boxes[c.random(0, time.Duration(len(boxes)-1))]
			for more := true; more; {
				if more, err = c.deleteFrom(box); err != nil {
					failed[box] = true
				}
			}
		}
		pause = -1
		if len(failed) == 0 {
			failures = 0
		} else {
			failures++
			pause = c.jitter(c.timing.backoff(failures))
		}
	}
}

// wakeDeletes says that there may be something to delete.
func (c *Client) wakeDeletes() {
	c.kickDelete.kick()
	c.kickDoor.kick()
}

// deletable returns the mailboxes to delete from, the front door's or the
// others, but for those that failed.
func (c *Client) deletable(door bool, failed map[vault.TombstoneBox]bool) (boxes []vault.TombstoneBox, err error) {
	err = c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		boxes, err = tx.TombstoneBoxes()
		return err
	})
	return slices.DeleteFunc(boxes, func(b vault.TombstoneBox) bool {
		return failed[b] || door != (b.Owner == [32]byte{})
	}), err
}

// deleteFrom sends the tombstones of one mailbox, as many as one request holds,
// and says whether there may be more.
func (c *Client) deleteFrom(box vault.TombstoneBox) (more bool, _ error) {
	var group []vault.Tombstone
	err := c.vault.View(c.ctx, func(tx *vault.Tx) (err error) {
		group, err = tx.Tombstones(box, mailbox.MaxDigests)
		return err
	})
	if err != nil || len(group) == 0 {
		return false, err
	}
	more = len(group) == mailbox.MaxDigests
	group = slices.DeleteFunc(group, func(s vault.Tombstone) bool { return c.witness.pending(s.Digest) })
	if len(group) == 0 {
		return false, errCompared
	}
	if err := c.bury(group); err != nil && c.worthDeleting(group) {
		return false, err
	}
	err = c.update(func(tx *vault.Tx) error {
		for _, s := range group {
			if err := tx.DeleteTombstone(s); err != nil {
				return err
			}
		}
		return nil
	})
	return more && err == nil, err
}

// errCompared says that what is to be deleted is looked for at a member.
var errCompared = errors.New("client: envelopes are still compared")

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
