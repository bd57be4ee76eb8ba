package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

const (
	// directoryMin and directorySpread bound the random pauses after which a
	// client asks for a newer directory though nothing made it: often enough for
	// MaxPast changes a fortnight, seldom enough to be no pattern.
	directoryMin    = 6 * time.Hour
	directorySpread = 12 * time.Hour
	// directoryFirst is over which time after its start it asks for the first
	// time: everybody may have moved while it was away.
	directoryFirst = 10 * time.Minute
	// directoryHurry is over which time it asks when members do not answer.
	directoryHurry = 2 * time.Minute
	// directoryAgain is how long one node is not asked again that refused: it
	// may be behind, or wrong, and does not get to make us ask and ask.
	directoryAgain = 30 * time.Second
)

// succession keeps the client's directory up to date (spec/client.md §5.13).
type succession struct {
	live  *directory.Live
	vault *vault.Vault
	log   *slog.Logger
	// forked is told that the network's key signed two directories with one serial.
	forked func()
	kick   signal // members do not answer

	// turn is held while a node is asked, so that a change is fetched once.
	turn  chan struct{}
	asked map[identity.NodeID]time.Time // under turn
}

func newSuccession(live *directory.Live, v *vault.Vault, log *slog.Logger, forked func()) *succession {
	return &succession{
		live: live, vault: v, log: log, forked: forked, kick: newSignal(),
		turn: make(chan struct{}, 1), asked: make(map[identity.NodeID]time.Time),
	}
}

// store writes down which network is in use.
func (f *succession) store(ctx context.Context, network []byte) error {
	return f.vault.Update(ctx, func(tx *vault.Tx) error {
		a, err := tx.Account()
		if err != nil {
			return err
		}
		defer clear(a.Seed)
		a.Network = network
		return tx.SetAccount(a)
	})
}

// outdated reports whether a refusal may come from a directory that differs
// from the member's: it keeps the mailbox no more, or counts other members.
func outdated(err error) bool {
	return errors.Is(err, mailbox.ErrWrongSwarm) || errors.Is(err, mailbox.ErrBadWork) || errors.Is(err, mailbox.ErrReceipt)
}

// ask asks a node for a newer directory, on the way to a mailbox that it
// refused or to none, and adopts what it sends. A node that was asked a moment
// ago is not asked again, unless somebody else adopted one meanwhile.
func (f *succession) ask(ctx context.Context, m *members, t target, node identity.NodeID) error {
	before := f.live.Current()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	have := f.live.Current()
	now := m.now()
	if have != before || now.Sub(f.asked[node]).Abs() < directoryAgain {
		return nil
	}
	if len(f.asked) >= have.Len() {
		clear(f.asked) // of nodes that have left, and old
	}
	f.asked[node] = now
	d, resp, err := m.askFresh(ctx, t, node, fixed(&mailbox.Directory{Serial: have.Serial()}))
	if err != nil {
		return err
	}
	d.close()
	reply, ok := resp.(*mailbox.DirectoryReply)
	if !ok {
		return unexpected(resp)
	}
	if len(reply.Signed) == 0 {
		return nil
	}
	n, err := directory.ParseSigned(have.NetworkKey(), reply.Signed)
	if err != nil {
		return fmt.Errorf("client: a node's directory: %w", err)
	}
	return f.adopt(ctx, n, now)
}

// adopt stores a newer directory and uses it from then on: in this order, so
// that a crash does not bring an older one back. What contradicts a known one is
// kept as a proof. Needs turn.
func (f *succession) adopt(ctx context.Context, n *directory.Network, now time.Time) error {
	var fork *directory.Fork
	switch err := f.live.Check(n); {
	case errors.Is(err, directory.ErrNotNewer):
		return nil // the node was slower than another one
	case errors.As(err, &fork):
		f.log.Error("client: the network's key has signed two directories with one serial", "serial", n.Document.Serial)
		f.forked()
		return errors.Join(err, f.vault.Update(ctx, func(tx *vault.Tx) error { return keepFork(tx, fork, now) }))
	case err != nil:
		return err
	}
	b, err := n.Encode()
	if err != nil {
		return err
	}
	if err := f.store(ctx, b); err != nil {
		return err
	}
	if err := f.live.Adopt(n); err != nil {
		return err
	}
	f.log.Info("client: a newer directory", "serial", n.Document.Serial, "nodes", len(n.Document.Nodes))
	return nil
}

// directoryLoop asks some node now and then, and soon when members do not
// answer: they may have left.
func (c *Client) directoryLoop() {
	wait := c.random(0, directoryFirst)
	for {
		timer := newTimer(wait)
		select {
		case <-timer.C:
			c.askAnyone(c.ctx)
			wait = directoryMin + c.random(0, directorySpread)
		case <-c.succession.kick:
			wait = min(wait, c.random(0, directoryHurry))
		case <-c.ctx.Done():
		}
		timer.Stop()
		if c.ctx.Err() != nil {
			return
		}
	}
}

// askAnyone asks a node drawn at random, over a circuit for sending.
func (c *Client) askAnyone(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.timing.attempt)
	defer cancel()
	nodes := c.dir.Current().Nodes()
	i := int(c.random(0, time.Duration(len(nodes)-1)))
	t := target{route: route{iso: sendUse(c.number)}} // of no mailbox
	if err := c.succession.ask(ctx, c.members, t, nodes[i].ID); err != nil {
		c.log.Debug("client: asking for a directory", "error", err)
	}
	c.keys.forget(t.at(nodes[i].ID)) // nothing joins this question to the next
}
