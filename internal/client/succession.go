package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	// directoryHurry is over which time it asks when members do not answer, and
	// at most when they refuse.
	directoryHurry = 2 * time.Minute
	// directorySoon is the same for the first refusal: a message may wait for the
	// answer, and what follows on a refusal within moments would show whose it was.
	directorySoon = 20 * time.Second
	// directoryMoment is the least time between a refusal and the question.
	directoryMoment = time.Second
)

// succession keeps the client's directory up to date (spec/client.md §5.13).
type succession struct {
	live  *directory.Live
	vault *vault.Vault
	log   *slog.Logger
	// forked is told that the network's key signed two directories with one serial.
	forked  func()
	silent  signal // members do not answer
	refused signal // one refused as another directory would make it

	adopting sync.Mutex // held while a directory is checked, stored and used
}

func newSuccession(live *directory.Live, v *vault.Vault, log *slog.Logger, forked func()) *succession {
	return &succession{live: live, vault: v, log: log, forked: forked, silent: newSignal(), refused: newSignal()}
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

// suspect has a directory asked for, of somebody and some time later, if an
// error hints at one that is newer than ours. Which mailbox was refused, by whom
// and how many does not show in the question.
func (f *succession) suspect(err error) {
	if outdated(err) {
		f.refused.kick()
	}
}

// ask asks a node for a newer directory, and adopts what it sends.
func (f *succession) ask(ctx context.Context, m *members, t target, node identity.NodeID) error {
	have := f.live.Current()
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
	return f.adopt(ctx, n, m.now())
}

// adopt stores a newer directory and uses it from then on: in this order, so
// that a crash does not bring an older one back. What contradicts a known one is
// kept as a proof.
func (f *succession) adopt(ctx context.Context, n *directory.Network, now time.Time) error {
	f.adopting.Lock()
	defer f.adopting.Unlock()
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

// question is when the next one for a directory is due.
type question struct {
	at time.Time
	// hurried is over which time it was drawn for a reason; zero without one. It
	// is drawn once for each reason: a member that goes on refusing does not
	// bring it nearer.
	hurried time.Duration
	// soon is over which time the next one is drawn that a refusal makes.
	soon time.Duration
}

// hurry has it come within a while from now.
func (q *question) hurry(c *Client, least, within time.Duration) {
	if q.hurried > 0 && q.hurried <= within {
		return
	}
	q.hurried = within
	if at := time.Now().Add(c.random(least, within)); at.Before(q.at) {
		q.at = at
	}
}

// answered draws the next one, given whether this one brought a newer directory
// or failed. Refusals that bring nothing make us ask less and less.
func (q *question) answered(c *Client, newer bool, err error) {
	switch {
	case newer || q.hurried == 0:
		q.soon = directorySoon
	case q.hurried == q.soon && err == nil:
		q.soon = min(2*q.soon, directoryHurry)
	}
	q.hurried = 0
	q.at = time.Now().Add(directoryMin + c.random(0, directorySpread))
}

// directoryLoop asks some node now and then, and soon when members do not
// answer or refuse: they may have left, or keep other mailboxes.
func (c *Client) directoryLoop() {
	q := question{at: time.Now().Add(c.random(0, directoryFirst)), soon: directorySoon}
	for {
		timer := newTimer(time.Until(q.at))
		select {
		case <-timer.C:
			before := c.dir.Current()
			err := c.askAnyone(c.ctx)
			q.answered(c, c.dir.Current() != before, err)
		case <-c.succession.silent:
			q.hurry(c, 0, directoryHurry)
		case <-c.succession.refused:
			q.hurry(c, directoryMoment, q.soon)
		case <-c.ctx.Done():
		}
		timer.Stop()
		if c.ctx.Err() != nil {
			return
		}
	}
}

// askAnyone asks a node drawn at random, over a circuit that nothing else uses.
func (c *Client) askAnyone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timing.attempt)
	defer cancel()
	nodes := c.dir.Current().Nodes()
	t := target{route: route{iso: askUse(c.number)}} // of no mailbox
	node := nodes[c.below(len(nodes))].ID
	err := c.succession.ask(ctx, c.members, t, node)
	if err != nil {
		c.log.Debug("client: asking for a directory", "error", err)
	}
	c.keys.forget(t.at(node)) // nothing joins this question to the next
	return err
}
