package swarm

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// Members end equal by range-based set reconciliation (spec/swarm.md §5.4; A.
// Meyer, 2022). Each pulls for itself: peer.reconcileSection(ctx, section, …)
// makes this member hold what that peer has of a section and is missing here,
// and returns nil when it has looked at all of it. A section is the swarm ID of
// an address under the directory in use (followSections gives it to the store),
// and the peer serves any section that it has records of, not only its own, so
// a new keeper pulls from those who kept an address before just as members pull
// from one another: give it the peer and the section. What is pulled goes
// through accept. The other side is serveReconcile, which keeps no state.

// Limits of a round (spec/swarm.md §3).
const (
	// roundMargin leaves out what expires so soon that clocks and the pace of
	// expiry alone make members differ.
	roundMargin = 2 * mailbox.MaxClockSkew
	// roundMax ends a round, so that one peer does not keep the others waiting;
	// the next one goes on where differences are left.
	roundMax = 2 * time.Minute
	// roundIdle ends a round that has brought nothing for so long, beyond what the
	// records that it brought may take: each recordTime, and its bytes at leastRate.
	// That is a tenth of what a loaded member stores, and an eighth of what one
	// gives to each of the others when all copy from it.
	roundIdle  = 15 * time.Second
	recordTime = 20 * time.Millisecond
	leastRate  = 128 << 10
	// roundCredit is what a peer may cost without bringing anything: each query
	// and each name cost one, and each record that is stored brings storedCredit.
	roundCredit  = 1 << 14
	storedCredit = 4
	// roundRefusals is after how many refused records a round is left.
	roundRefusals = 256
	// openMax bounds the ranges that are open, some 2 MB: five times what a
	// million records that all differ come to.
	openMax = 1 << 13
	// listMax is how many names of a peer are asked for by a list; ranges with
	// more are cut.
	listMax = 128
	// fetchBatch is how many missing names are gathered before they are fetched.
	fetchBatch = 1024
	// inFlight is how long a patient round waits before it fetches, and again as
	// long, inFlightMax times at most, while hints are being handed over: what
	// comes by itself needs no fetching.
	inFlight    = 500 * time.Millisecond
	inFlightMax = 60
)

// errUnproductive ends a round with a peer whose differences lead nowhere.
var errUnproductive = errors.New("swarm: reconciliation leads nowhere")

// reconcileLoop compares this member's swarm with a peer: when the stream to it
// stands, when the peer says so, and at an interval.
func (p *peer) reconcileLoop(ctx context.Context) {
	t := time.NewTimer(p.s.jitter(p.s.cfg.ReconcileEvery))
	defer t.Stop()
	for p.s.cfg.ReconcileEvery > 0 {
		select {
		case <-p.lookNow:
		case <-t.C:
			signal(p.hand) // what it was too busy for, say
		case <-ctx.Done():
			return
		}
		if err := p.reconcile(ctx, true); err != nil && ctx.Err() == nil {
			p.s.cfg.Logger.Debug("reconciliation failed", "node", p.id.String(), "error", err)
		}
		t.Reset(p.s.jitter(p.s.cfg.ReconcileEvery))
	}
}

// reconcile makes a round about this member's own swarm that begins after the
// call; callers that wait for one another share one that comes to its end. A
// patient round, for which nobody waits, goes on where the last one was left.
func (p *peer) reconcile(ctx context.Context, patient bool) error {
	seen := p.rounds.Load()
	if !patient {
		signal(p.hurry)
	}
	select {
	case p.comparing <- struct{}{}:
		defer func() { <-p.comparing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.rounds.Load() != seen && p.shared {
		return nil // one began and ended since
	}
	p.rounds.Add(1)
	p.shared = false
	from, v, losses := store.End, p.s.view(), p.s.cfg.Store.Losses()
	if patient && p.left.view == v && p.left.losses == losses {
		from = p.left.at
	}
	left, err := p.reconcileSection(ctx, uint16(v.swarm), patient, from)
	p.left = leftAt{}
	if err != nil {
		if left < store.End {
			p.left = leftAt{view: v, losses: losses, at: left}
		}
		return err
	}
	p.shared = from == store.End
	p.compared.Store(1 + losses) // after a loss since, it may have passed what is gone again
	return nil
}

// leftAt is where a round was left that led nowhere: what differs for good, and
// makes rounds end before they come to what could be got, is passed over so.
type leftAt struct {
	view   *view
	losses uint64
	at     store.Bound
}

// reconcileSection makes this member hold what the peer has of a section. A
// patient round gives puts that are on their way the time to come by themselves.
// One round runs at a time, so that what several peers have is fetched once. It
// looks at names before from. With errUnproductive it returns the bound from
// which it has looked at everything, and before which one can go on.
func (p *peer) reconcileSection(ctx context.Context, section uint16, patient bool, from store.Bound) (left store.Bound, _ error) {
	s := p.s
	select {
	case <-s.cfg.Store.Summarised():
	case <-ctx.Done():
		return from, ctx.Err()
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return from, ctx.Err()
	}
	own, cancel := context.WithTimeout(ctx, roundMax)
	defer cancel()
	idle := newAllowance(roundIdle, cancel)
	defer idle.stop()
	r := &round{p: p, section: section, view: s.view(), patient: patient, credit: roundCredit, idle: idle}
	if _, err := io.ReadFull(s.cfg.Rand, r.salt[:]); err != nil {
		return from, err
	}
	err := r.run(own, from)
	if err != nil && own.Err() != nil && ctx.Err() == nil {
		err = errUnproductive // it took too long
	}
	if errors.Is(err, errUnproductive) {
		return min(r.frontier(), from), err
	}
	return from, err
}

// round is one comparison. Its stack holds the ranges that are still open, the
// latest on top: a record's grant and its tombstone expire no earlier than
// itself, so they are fetched before it, and what is deleted is not fetched.
type round struct {
	p       *peer
	section uint16
	view    *view
	salt    [8]byte
	patient bool
	credit  int
	refused int
	idle    *allowance

	stack   []span
	missing []store.Name
}

// span is a range that differs, or may.
type span struct {
	lo, hi store.Bound
	list   bool // short enough to ask for the names that are missing here
}

func (r *round) run(ctx context.Context, from store.Bound) error {
	lo := store.After(r.p.s.unixNow() + uint64(roundMargin/time.Second))
	if lo >= from {
		return nil
	}
	r.stack = []span{{lo: lo, hi: from}}
	for len(r.stack) > 0 {
		if err := r.step(ctx); err != nil {
			return err
		}
		// What is above the missing names may hold their grants or tombstones.
		if len(r.missing) >= fetchBatch && !r.openAbove() {
			if err := r.fetch(ctx); err != nil {
				return err
			}
		}
	}
	return r.fetch(ctx)
}

// frontier is the bound from which all has been looked at and fetched.
func (r *round) frontier() store.Bound {
	at := r.top()
	for _, n := range r.missing {
		at = max(at, store.Bound(n.Append(nil))+"\x00")
	}
	return at
}

// top is where the open ranges end.
func (r *round) top() store.Bound {
	at := store.First
	for _, sp := range r.stack {
		at = max(at, sp.hi)
	}
	return at
}

// openAbove reports whether an open range lies above a missing name.
func (r *round) openAbove() bool {
	top := r.top()
	return slices.ContainsFunc(r.missing, func(n store.Name) bool { return store.Bound(n.Append(nil)) < top })
}

// step asks about the ranges on top, the latest first: what does not fit into
// the answer is the earliest of them.
func (r *round) step(ctx context.Context) error {
	n := min(len(r.stack), reconQueries)
	spans := append([]span(nil), r.stack[len(r.stack)-n:]...)
	slices.Reverse(spans)
	c := reconcileCall{section: r.section, salt: r.salt}
	rests := make([]span, n)
	for i := range spans {
		q, err := r.query(&spans[i], &rests[i])
		if err != nil {
			return err
		}
		c.queries = append(c.queries, q)
	}
	reply, err := r.p.ask(ctx, opReconcile, c.encode())
	if err != nil {
		return err
	}
	r.stack = r.stack[:len(r.stack)-n]
	answers, err := parseAnswers(reply)
	if err == nil && (len(answers) == 0 || len(answers) > len(spans)) {
		err = protocol("answers to other queries", ErrProtocol)
	}
	if err != nil {
		return err
	}
	for i, sp := range slices.Backward(spans) {
		if i >= len(answers) {
			r.stack = append(r.stack, sp)
		} else if err := r.take(sp, answers[i]); err != nil {
			return err
		} else {
			r.credit -= 1 + len(answers[i].names)
		}
		if rests[i].lo < rests[i].hi {
			r.stack = append(r.stack, rests[i])
		}
	}
	if r.credit <= 0 || len(r.stack) > openMax {
		return errUnproductive
	}
	return nil
}

// query asks about a range. One that has more names here than fit is cut short,
// and its rest becomes a range of its own.
func (r *round) query(sp, rest *span) (query, error) {
	budget := store.ScanRows
	if !sp.list {
		sums, err := r.p.s.cfg.Store.Sums(r.section, []store.Bound{sp.lo, sp.hi}, &budget)
		if err != nil {
			return query{}, err
		}
		return query{mode: queryCompare, lo: sp.lo, hi: sp.hi, fingerprint: sums[0].Fingerprint()}, nil
	}
	q := query{mode: queryList, lo: sp.lo}
	upTo, err := r.p.s.cfg.Store.Names(r.section, sp.lo, sp.hi, &budget, func(n store.Name) bool {
		if len(q.ids) == reconIDs {
			return false
		}
		q.ids = append(q.ids, store.ShortID(r.salt, n))
		return true
	})
	if err != nil {
		return query{}, err
	}
	if upTo < sp.hi {
		*rest = span{lo: upTo, hi: sp.hi}
		sp.hi = upTo
	}
	q.hi = sp.hi
	return q, nil
}

// take goes on with what a peer answered about a range.
func (r *round) take(sp span, a answer) error {
	switch {
	case a.kind == answerSame && !sp.list:
		return nil
	case a.kind == answerParts && !sp.list:
		return r.compare(sp, a.parts)
	case a.kind == answerNames && sp.list:
		if err := checkNames(a, sp.lo, sp.hi); err != nil {
			return err
		}
		if a.upTo < sp.hi {
			r.stack = append(r.stack, span{lo: a.upTo, hi: sp.hi, list: true})
		}
		return r.want(a.names)
	}
	return protocol("answer to another query", ErrProtocol)
}

// compare opens those parts of a range that differ and have something to give.
func (r *round) compare(sp span, parts []part) error {
	if err := checkParts(parts, sp.lo, sp.hi); err != nil {
		return err
	}
	bounds, budget := []store.Bound{sp.lo}, store.ScanRows
	for _, p := range parts {
		bounds = append(bounds, p.hi)
	}
	sums, err := r.p.s.cfg.Store.Sums(r.section, bounds, &budget)
	if err != nil {
		return err
	}
	for i, p := range parts {
		if p.count == 0 || p.fingerprint == sums[i].Fingerprint() {
			continue
		}
		next := span{lo: bounds[i], hi: bounds[i+1], list: p.count <= listMax || len(parts) == 1}
		if err := r.open(next, sums[i].Count); err != nil {
			return err
		}
	}
	return nil
}

// open puts a range on the stack. One to be listed that has very many names here
// is cut where this member's leaves begin.
func (r *round) open(sp span, here uint64) error {
	if !sp.list || here <= reconIDs {
		r.stack = append(r.stack, sp)
		return nil
	}
	cuts, err := r.p.s.cfg.Store.Parts(r.section, sp.lo, sp.hi, reconParts)
	if err != nil {
		return err
	}
	for _, at := range cuts {
		r.stack = append(r.stack, span{lo: sp.lo, hi: at})
		sp.lo = at
	}
	r.stack = append(r.stack, span{lo: sp.lo, hi: sp.hi, list: len(cuts) == 0})
	return nil
}

// want gathers the names that are worth fetching.
func (r *round) want(names []store.Name) error {
	for _, n := range names {
		ok, err := r.needed(n)
		if err != nil {
			return err
		}
		if ok {
			r.missing = append(r.missing, n)
		}
	}
	return nil
}

// needed reports whether a record belongs here and is neither here, nor deleted,
// nor refused before.
func (r *round) needed(n store.Name) (bool, error) {
	s := r.p.s
	if n.Expiry <= s.unixNow() || !r.view.keeps(n.Address) || r.p.refusals.has(refOf(n), s.cfg.Now()) {
		return false, nil
	}
	has, err := s.cfg.Store.Has(n.Kind, n.Address, n.Ref)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // a kind that this program doesn't know
	}
	return !has, err
}
