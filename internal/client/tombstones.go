package client

import (
	"context"
	"errors"
	"slices"
	"time"

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
	burials := map[vault.TombstoneBox]*burial{}
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
				if burials[box] == nil {
					burials[box] = &burial{}
				}
				if more, err = c.deleteFrom(box, burials[box]); err != nil {
					failed[box] = true
				} else {
					delete(burials, box)
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
func (c *Client) deleteFrom(box vault.TombstoneBox, b *burial) (more bool, _ error) {
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
	if err := c.bury(group, b); err != nil && c.worthDeleting(group) {
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

// burial is who has said of which tombstones that they are taken, so that nobody
// is asked for the same again while too few have.
type burial struct {
	group []vault.Tombstone
	taken map[identity.NodeID]bool
}

// bury sends one Delete to one member after the other until a majority of them
// have said that they took it: one could say so and tell no other.
func (c *Client) bury(group []vault.Tombstone, b *burial) error {
	if !slices.Equal(b.group, group) {
		b.group, b.taken = group, map[identity.NodeID]bool{}
	}
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
	nodes := c.order(t.loc.Address())
	if len(nodes) == 0 {
		return errNoSwarm
	}
	left := majority(len(nodes))
	for _, n := range nodes {
		if b.taken[n.ID] {
			left--
		}
	}
	for _, n := range nodes {
		if left <= 0 {
			return nil
		}
		if b.taken[n.ID] {
			continue
		}
		if err = c.deleteAt(t, n.ID, d); err == nil {
			b.taken[n.ID] = true
			left--
		}
	}
	if left <= 0 {
		return nil
	}
	return err
}

// deleteAt asks one member to delete.
func (c *Client) deleteAt(t target, node identity.NodeID, d *mailbox.Delete) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.timing.attempt)
	defer cancel()
	resp, err := c.call(ctx, t, node, fixed(d))
	if err == nil {
		if _, ok := resp.(*mailbox.Deleted); !ok {
			err = unexpected(resp)
		}
	}
	c.report(c.ctx, t.at(node), err)
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
