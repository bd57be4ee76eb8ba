package swarm

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// touched gets single mailboxes ahead of the move that brings the others, when
// a client asks for them (spec/swarm.md §5.10).
type touched struct {
	s *Swarm

	// mu guards all below.
	mu     sync.Mutex
	view   *view  // that boxes belong to
	losses uint64 // of the store, when they were got
	boxes  map[mailbox.Address]*touch
}

// touch is one mailbox that is being got, or was.
type touch struct {
	done chan struct{} // closed when err is set
	err  error
}

// ready returns when this node has everything that was acknowledged at an
// address before the view's directory, or ErrBusy if it cannot in time.
func (s *Swarm) ready(ctx context.Context, v *view, a mailbox.Address) error {
	if s.moves.complete(v) {
		return nil
	}
	t := s.touched.begin(v, a)
	select {
	case <-t.done:
		if t.err != nil {
			s.cfg.Logger.Debug("a mailbox that moves was not got", "error", t.err)
			return mailbox.ErrBusy
		}
		return nil
	case <-ctx.Done():
		return mailbox.ErrBusy
	}
}

// begin returns the getting of a mailbox, which all who wait for it share.
func (t *touched) begin(v *view, a mailbox.Address) *touch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if losses := t.s.cfg.Store.Losses(); t.view != v || t.losses != losses || len(t.boxes) >= maxTouched {
		t.view, t.losses, t.boxes = v, losses, make(map[mailbox.Address]*touch)
	}
	if x := t.boxes[a]; x != nil {
		return x
	}
	x := &touch{done: make(chan struct{})}
	t.boxes[a] = x
	t.s.wg.Go(func() { // the caller's stream holds wg open
		ctx, cancel := context.WithTimeout(t.s.ctx, touchTimeout)
		defer cancel()
		x.err = t.s.gather(ctx, v, a)
		if x.err != nil {
			t.forget(a, x)
		}
		close(x.done)
	})
	return x
}

// forget lets the next one who asks try again.
func (t *touched) forget(a mailbox.Address, x *touch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.boxes[a] == x {
		delete(t.boxes, a)
	}
}

// listing is what one keeper says that it has of a mailbox.
type listing struct {
	p     *peer
	state keeperState
	refs  []store.Reference
	err   error
}

// gather asks all keepers of a mailbox, present and past, what they have of it,
// and gets it from so many that nothing acknowledged can be missing. Deletions
// come before envelopes, so that none is shown again.
func (s *Swarm) gather(ctx context.Context, v *view, a mailbox.Address) error {
	line, got, lost := v.lineageOf(s.self, a), known{s.self: s.moves.state(v)}, s.moves.lacking()
	lists := make(chan listing)
	asked := 0
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, id := range line.nodes() {
		if p := s.peer(id); p != nil {
			asked++
			wg.Go(func() {
				l := p.list(ctx, v, a)
				select {
				case lists <- l:
				case <-ctx.Done():
				}
			})
		}
	}
	var from []listing
	deep := v.deep(s.cfg.Now())
	for {
		for ; !line.settled(got, deep) || lost && !line.levels[0].found(got); asked-- {
			if asked == 0 {
				return mailbox.ErrUnavailable
			}
			select {
			case l := <-lists:
				if l.err == nil {
					got[l.p.id] = l.state
					from = append(from, l)
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		left, err := s.takeAll(ctx, v, a, from)
		if err != nil || len(left) == len(from) {
			return err
		}
		// The others may be enough without those that failed.
		for _, l := range from {
			if !slices.ContainsFunc(left, func(x listing) bool { return x.p == l.p }) {
				delete(got, l.p.id)
				s.metrics.spoiltLists.Inc()
			}
		}
		from = left
	}
}

// takeAll gets what is missing from whoever listed it, and returns those who gave
// what they listed, or whose others gave it.
func (s *Swarm) takeAll(ctx context.Context, v *view, a mailbox.Address, from []listing) (left []listing, err error) {
	left = slices.Clone(from)
	for _, kind := range []store.Kind{store.KindGrant, store.KindTombstone, store.KindEnvelope} {
		if left, err = s.take(ctx, v, a, left, kind); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// take is takeAll for one kind.
func (s *Swarm) take(ctx context.Context, v *view, a mailbox.Address, from []listing, kind store.Kind) (left []listing, err error) {
	failed := make(map[*peer]bool)
	for _, l := range from {
		if err := l.p.fetchRefs(ctx, v, a, l.refs, kind); err != nil {
			s.cfg.Logger.Debug("a node does not hand out what it lists", "node", l.p.id.String(), "error", err)
			failed[l.p] = true
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	for _, l := range from {
		if failed[l.p] { // another may have given it
			missing, err := l.p.missingRefs(a, l.refs, kind)
			if err != nil {
				return nil, err
			}
			failed[l.p] = len(missing) > 0
		}
		if !failed[l.p] {
			left = append(left, l)
		}
	}
	return left, nil
}

// list asks a keeper for its references of a mailbox, page by page.
func (p *peer) list(ctx context.Context, v *view, a mailbox.Address) listing {
	l := listing{p: p}
	q := mailboxQuery{serial: v.dir.Serial(), address: a}
	for {
		reply, err := p.ask(ctx, opMailbox, q.encode())
		if err != nil {
			l.err = err
			return l
		}
		page, err := parseMailboxPage(reply)
		switch {
		case err != nil:
		case page.state.gone:
			err = errDropped
		case page.more && (len(page.refs) == 0 || len(l.refs) >= maxListed):
			err = ErrProtocol
		}
		if err != nil {
			l.err = err
			return l
		}
		l.state, l.refs = page.state, append(l.refs, page.refs...)
		if !page.more {
			return l
		}
		q.after = page.refs[len(page.refs)-1]
	}
}

func (p *peer) missingRefs(a mailbox.Address, refs []store.Reference, kind store.Kind) (out []store.Name, err error) {
	for _, x := range refs {
		if x.Kind != kind {
			continue
		}
		has, err := p.s.cfg.Store.Has(kind, a, x.Ref)
		if err != nil {
			return nil, err
		}
		if !has {
			out = append(out, store.Name{Expiry: math.MaxUint64, Kind: kind, Address: a, Ref: x.Ref})
		}
	}
	return out, nil
}

// fetchRefs gets what is missing of one kind, as a round of reconciliation does.
func (p *peer) fetchRefs(ctx context.Context, v *view, a mailbox.Address, refs []store.Reference, kind store.Kind) error {
	missing, err := p.missingRefs(a, refs, kind)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := newAllowance(touchIdle, cancel)
	defer idle.stop()
	r := &round{p: p, view: v, credit: roundCredit, idle: idle}
	for names := range slices.Chunk(missing, getRefs) {
		if err := r.get(ctx, names); err != nil {
			return err
		}
	}
	return nil
}

// serveMailbox lists a mailbox for one of its keepers.
func (ps *peerStream) serveMailbox(body []byte) ([]byte, error) {
	q, err := parseMailboxQuery(body)
	if err != nil {
		return nil, err
	}
	v := ps.s.view()
	if !v.dir.InSwarmOf(ps.p.id, q.address) {
		return nil, mailbox.ErrWrongSwarm
	}
	var page mailboxPage
	if page.refs, page.more, err = ps.s.cfg.Store.References(q.address, q.after, mailboxRefs); err != nil {
		return nil, storeError(err)
	}
	// Asked after reading: what is dropped meanwhile is no answer.
	if page.state, err = ps.s.moves.handing(v, q.serial, v.dir.SwarmIDOf(q.address)); err != nil {
		return nil, err
	}
	if page.state.gone {
		page.more, page.refs = false, nil
	}
	return page.encode(), nil
}

// mayGet reports why a node gets no record of these: it keeps them not, or they
// are gone from here.
func (s *Swarm) mayGet(v *view, asker identity.NodeID, refs []ref) error {
	foreign := func(x ref) bool { return !v.dir.InSwarmOf(asker, x.address) }
	if slices.ContainsFunc(refs, foreign) {
		return mailbox.ErrWrongSwarm
	}
	me := v.swarm
	for _, x := range refs {
		if id := v.dir.SwarmIDOf(x.address); !v.member || id != me {
			state, err := s.moves.handing(v, v.dir.Serial(), id)
			if err != nil || state.gone {
				return errors.Join(mailbox.ErrWrongSwarm, err)
			}
		}
	}
	return nil
}
