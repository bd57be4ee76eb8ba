package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
)

const labelOrder suite.Label = suite.LabelPrefix + "client/order"

const (
	// avoidFailed is how long a member that failed stands behind the others.
	avoidFailed = 20 * time.Second
	// maxFailed bounds what is remembered of it: members that are asked for a few
	// hundred mailboxes.
	maxFailed = 1024
)

// swarms does what needs a whole swarm: choosing members, opening mailboxes,
// and verifying that a majority has an envelope (spec/client.md §5.3).
type swarms struct {
	*members
	prices  prices
	dir     directory.Source
	timing  *timing
	witness witness

	fmu    sync.Mutex // guards failed
	failed map[keyPlace]time.Time
}

// order returns the members of an address, the one to ask first at the front:
// members that failed lately last, behind them who asked to be left alone for
// now, otherwise in an order that belongs to the address, so that writer and
// reader meet at the same members. Only what a member did at this mailbox counts
// (spec/client.md §5.11).
func (s *swarms) order(a mailbox.Address) []directory.Node {
	nodes := s.dir.Current().SwarmOf(a)
	key := func(n directory.Node) [suite.HashSize]byte { return suite.Hash(labelOrder, a[:], n.ID[:]) }
	now := s.now()
	s.fmu.Lock()
	defer s.fmu.Unlock()
	behind := func(n directory.Node) int {
		switch {
		case s.rests.left(keyPlace{a, n.ID}, now) > 0:
			return 2
		case s.failedLocked(keyPlace{a, n.ID}, now):
			return 1
		}
		return 0
	}
	slices.SortFunc(nodes, func(x, y directory.Node) int {
		if d := behind(x) - behind(y); d != 0 {
			return d
		}
		kx, ky := key(x), key(y)
		return bytes.Compare(kx[:], ky[:])
	})
	return nodes
}

func (s *swarms) failedLocked(at keyPlace, now time.Time) bool {
	return now.Before(s.failed[at]) || s.keys.marks(at, now) || s.witness.blamed(at, now)
}

// failLocked puts a member behind the others of a mailbox for a while. To make
// room what is over goes, and else any.
func (s *swarms) failLocked(at keyPlace) {
	now := s.now()
	if len(s.failed) >= maxFailed {
		maps.DeleteFunc(s.failed, func(_ keyPlace, until time.Time) bool { return !now.Before(until) })
	}
	for old := range s.failed {
		if len(s.failed) < maxFailed {
			break
		}
		delete(s.failed, old)
	}
	s.failed[at] = now.Add(avoidFailed)
}

// avoid puts a member behind the others of a mailbox for a while.
func (s *swarms) avoid(at keyPlace) {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	s.failLocked(at)
}

// report remembers whether a member answered for a mailbox.
func (s *swarms) report(ctx context.Context, at keyPlace, err error) {
	if ctx.Err() != nil || errors.Is(err, errResting) {
		return
	}
	var refused *mailbox.Failure
	s.fmu.Lock()
	defer s.fmu.Unlock()
	answered := errors.As(err, &refused)
	if err == nil || errors.Is(err, errNoCard) || answered && !errors.Is(err, mailbox.ErrUnavailable) && !errors.Is(err, mailbox.ErrBusy) && !errors.Is(err, mailbox.ErrWrongSwarm) {
		delete(s.failed, at)
		return
	}
	s.failLocked(at)
	if !answered {
		s.succession.silent.kick() // it may have left the network
	}
}

// slow puts members behind the others that have not answered in time; when one
// answers after all, report takes that back.
func (s *swarms) slow(a mailbox.Address, nodes []directory.Node) {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	for _, n := range nodes {
		s.failLocked(keyPlace{a, n.ID})
	}
}

func majority(n int) int { return n/2 + 1 }

// target is a mailbox and how it is opened when it is not.
type target struct {
	route route
	loc   mailbox.Locator
	bytes uint32
	until time.Time // how long it has to stand
}

// at is where a member's request key for this mailbox is kept.
func (t *target) at(node identity.NodeID) keyPlace { return keyPlace{t.loc.Address(), node} }

// days is how long a mailbox is opened for: as long as one price buys, or two.
// The exact time left would say how far into its period it is.
func (t *target) days(now time.Time) uint16 {
	if t.until.Sub(now) <= mailbox.OpenUnitDays*24*time.Hour {
		return mailbox.OpenUnitDays
	}
	return mailbox.MaxOpenDays
}

// open opens a mailbox through one member.
func (s *swarms) open(ctx context.Context, t target, node identity.NodeID) error {
	days := t.days(s.now())
	w, err := s.work(ctx, t, mailbox.OpenPurpose(t.loc.Address(), t.bytes, days))
	if err != nil {
		return err
	}
	resp, err := s.call(ctx, t, node, fixed(&mailbox.Open{Locator: t.loc, Bytes: t.bytes, Days: days, Work: w}))
	if errors.Is(err, mailbox.ErrBadWork) {
		s.prices.forget(t.loc.Address()) // it may have gone up
	}
	if err != nil {
		return err
	}
	if _, ok := resp.(*mailbox.Opened); !ok {
		return unexpected(resp)
	}
	return nil
}

// opened runs f, and when the mailbox proves not open or full, opens it (larger)
// and runs f once more.
func (s *swarms) opened(ctx context.Context, t target, node identity.NodeID, f func() error) error {
	err := f()
	switch {
	case errors.Is(err, mailbox.ErrNotOpen):
	case errors.Is(err, mailbox.ErrQuota):
		t.bytes = min(t.bytes*growth, mailbox.MaxOpenBytes)
	default:
		return err
	}
	if err := s.open(ctx, t, node); err != nil {
		return err
	}
	return f()
}

// each asks the members of a mailbox one after the other until one answers,
// the next one too when the first takes long. f may run for several members at
// a time. The error is the last one; refused counts those that said no for good.
// When a newer directory came of it, the members that it names are asked.
func (s *swarms) each(ctx context.Context, t target, f func(context.Context, directory.Node) error) (refused int, err error) {
	for range 1 + directory.MaxPast {
		d := s.dir.Current()
		refused, err = s.eachOf(ctx, t, d, f)
		if err == nil || ctx.Err() != nil || s.dir.Current() == d {
			break
		}
	}
	return refused, err
}

// eachOf is each with the members of one directory; it asks no others once
// there is a newer one.
func (s *swarms) eachOf(ctx context.Context, t target, d *directory.Directory, f func(context.Context, directory.Node) error) (refused int, _ error) {
	nodes := s.order(t.loc.Address())
	if len(nodes) == 0 {
		return 0, errNoSwarm
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.attempt)
	results := make(chan error, len(nodes))
	running, next := 0, 0
	defer func() { // every question asked is waited for
		cancel()
		for range running {
			<-results
		}
	}()
	start := func() {
		n := nodes[next]
		next++
		running++
		go func() {
			err := f(ctx, n)
			s.report(ctx, t.at(n.ID), err)
			results <- err
		}()
	}
	start()
	hedge := time.NewTimer(s.timing.hedge)
	defer hedge.Stop()
	var last error
	for running > 0 {
		select {
		case err := <-results:
			running--
			if err == nil {
				return 0, nil
			}
			if permanent(err) {
				refused++
			}
			last = err
			if next < len(nodes) && ctx.Err() == nil && s.dir.Current() == d {
				start()
				hedge.Reset(s.timing.hedge)
			}
		case <-hedge.C:
			s.slow(t.loc.Address(), nodes[:next])
			if next < len(nodes) && ctx.Err() == nil {
				start()
				hedge.Reset(s.timing.hedge)
			}
		}
	}
	return refused, last
}

var errNoSwarm = errors.New("client: the directory has no swarm for this address")

// put leaves an envelope and returns nil when a majority of the swarm has
// signed for it; members sign for one that its owner has read and deleted, too.
// prepare signs the put, with work where needed.
func (s *swarms) put(ctx context.Context, t target, prepare func(context.Context) (*mailbox.Put, error)) (refused int, _ error) {
	return s.each(ctx, t, func(ctx context.Context, n directory.Node) error {
		return s.opened(ctx, t, n.ID, func() error {
			p, err := prepare(ctx)
			if err != nil {
				return err
			}
			resp, err := s.call(ctx, t, n.ID, fixed(p))
			if errors.Is(err, mailbox.ErrBadWork) {
				s.prices.forget(p.Address())
			}
			if err != nil {
				return err
			}
			stored, ok := resp.(*mailbox.Stored)
			if !ok {
				return unexpected(resp)
			}
			err = s.confirm(p, stored)
			s.succession.suspect(err)
			return err
		})
	})
}

// confirm checks that a majority of the swarm signed for exactly this put.
func (s *swarms) confirm(p *mailbox.Put, stored *mailbox.Stored) error {
	addr := p.Address()
	digest := mailbox.EnvelopeDigest(addr, p.Envelope)
	dir := s.dir.Current()
	signed := map[identity.NodeID]bool{}
	for i := range stored.Receipts {
		r := &stored.Receipts[i]
		if dir.InSwarmOf(r.Node, addr) && !signed[r.Node] && r.Confirms(addr, digest, p.Expiry) == nil {
			signed[r.Node] = true
		}
	}
	if need := majority(len(dir.SwarmOf(addr))); len(signed) < need {
		return fmt.Errorf("client: %d receipts, need %d: %w", len(signed), need, mailbox.ErrReceipt)
	}
	return nil
}

// fetch reads a mailbox at one member from a cursor to its end. One that was
// never opened is empty.
func (s *swarms) fetch(ctx context.Context, t target, key credential, node identity.NodeID, from mailbox.Cursor, each func(*mailbox.Batch) error) error {
	for {
		resp, err := s.call(ctx, t, node, func(st mailbox.Stamp) (mailbox.Request, error) {
			f := &mailbox.Fetch{Locator: t.loc, Cursor: from, Limit: fetchLimit}
			f.Sign(key.signer, key.cert, st)
			return f, nil
		})
		if errors.Is(err, mailbox.ErrNotOpen) {
			return nil
		}
		if err != nil {
			return err
		}
		batch, ok := resp.(*mailbox.Batch)
		if !ok {
			return unexpected(resp)
		}
		if err := each(batch); err != nil {
			return err
		}
		if !batch.More {
			return nil
		}
		if batch.Next == from {
			return fmt.Errorf("client: a member repeats itself: %w", mailbox.ErrFormat)
		}
		from = batch.Next
	}
}

// credential is what shows the right to read a mailbox.
type credential struct {
	signer suite.Signer
	cert   *identity.Certificate
}
