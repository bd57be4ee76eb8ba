package swarm

import (
	"context"
	"errors"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

const (
	// hintQueue is how many hints wait for the disk; beyond it reconciliation
	// does the work.
	hintQueue = 4096
	// hintPause is for how long hints gather before they are written, so that
	// they cost few syncs of their own while a member is away.
	hintPause = 100 * time.Millisecond
	// hintBatch is how many are written at once: puts wait behind them, and when
	// a member falls silent, there is one for each put of its last seconds.
	hintBatch = 64
	// handWindow is how many records are handed over at a time, so that a peer
	// that returns can still answer puts.
	handWindow = 16
)

// missing and had are the bytes that answer an offer.
const (
	had     = 0
	missing = 1
)

// hint notes that a change did not reach the peer, if err is of that kind. It
// never blocks: what finds no place is left to reconciliation.
func (p *peer) hint(n store.Name, err error) {
	if !p.member || !passedOver(err) {
		return
	}
	select {
	case p.s.hints <- store.Hint{Node: p.id, Name: n}:
	default:
	}
}

// passedOver reports whether a peer may take later what it did not take now.
func passedOver(err error) bool {
	return errors.Is(err, errPeerAway) || errors.Is(err, errPeerSlow) ||
		errors.Is(err, mailbox.ErrBusy) || errors.Is(err, mailbox.ErrInternal)
}

// keepHints is the goroutine that writes hints, many at once, beside the puts
// that nobody waits for them with (spec/swarm.md §5.11). What has gathered when
// ctx ends is written, too.
func (s *Swarm) keepHints(ctx context.Context) {
	for {
		select {
		case h := <-s.hints:
			sleep(ctx, hintPause)
			s.writeHints(h)
		case <-ctx.Done():
			s.writeHints()
			return
		}
	}
}

// writeHints writes some hints and all that wait.
func (s *Swarm) writeHints(batch ...store.Hint) {
	for ; ; batch = batch[:0] {
		for len(batch) < hintBatch && len(s.hints) > 0 {
			batch = append(batch, <-s.hints)
		}
		if len(batch) == 0 {
			return
		}
		if err := s.cfg.Store.AddHints(context.WithoutCancel(s.ctx), batch); err == nil {
			s.hinted(batch)
		} // else a full or failed disk: reconciliation does the work
	}
}

// hinted has what was just noted handed over to those that came back before.
func (s *Swarm) hinted(hints []store.Hint) {
	s.metrics.hints.Add(float64(len(hints)))
	for _, h := range hints {
		if p := s.peer(h.Node); p != nil && !p.away() {
			signal(p.hand)
		}
	}
}

// handLoop hands over what the peer missed, when it is there again.
func (p *peer) handLoop(ctx context.Context) {
	for {
		select {
		case <-p.hand:
		case <-ctx.Done():
			return
		}
		if err := p.handOver(ctx); err != nil && ctx.Err() == nil {
			p.s.cfg.Logger.Debug("hand-over ended", "node", p.id.String(), "error", err)
		}
	}
}

// handOver offers the peer's hints in the order of their kinds, sends what it
// lacks, and forgets what it has or refuses. It ends with the last one, or at
// the first that the peer can't take now.
func (p *peer) handOver(ctx context.Context) error {
	st := p.s.cfg.Store
	for {
		hints, err := st.Hints(p.id, getRefs)
		if err != nil || len(hints) == 0 {
			return err
		}
		lacks, err := p.offer(ctx, hints)
		if err != nil {
			return err
		}
		done, err := p.handAll(ctx, hints, lacks)
		if dropErr := st.DropHints(ctx, done); err != nil || dropErr != nil {
			return errors.Join(err, dropErr)
		}
	}
}

// offer asks which of the hinted records the peer lacks.
func (p *peer) offer(ctx context.Context, hints []store.Hint) ([]byte, error) {
	refs := make([]ref, len(hints))
	for i, h := range hints {
		refs[i] = refOf(h.Name)
	}
	lacks, err := p.ask(ctx, opNudge, encodeRefs(refs))
	if err == nil && len(lacks) != len(hints) {
		err = protocol("answer to an offer", ErrProtocol)
	}
	return lacks, err
}

// handAll returns the hints that are settled, up to the first that is not.
func (p *peer) handAll(ctx context.Context, hints []store.Hint, lacks []byte) (done []store.Hint, err error) {
	for len(hints) > 0 {
		n := min(len(hints), handWindow)
		votes, sent := make(chan vote, n), 0
		for i := range n {
			if lacks[i] == had {
				continue
			}
			ok, err := p.handOne(hints[i].Name, votes)
			if err != nil {
				return done, err
			}
			if ok {
				sent++
			}
		}
		for range sent {
			select {
			case v := <-votes:
				if passedOver(v.err) || errors.Is(v.err, mailbox.ErrWrongSwarm) {
					err = v.err
				}
			case <-ctx.Done():
				return done, ctx.Err()
			}
		}
		if err != nil {
			return done, err // the whole window is offered again
		}
		done = append(done, hints[:n]...)
		hints, lacks = hints[n:], lacks[n:]
	}
	return done, nil
}

// handOne sends a record as its coordinator would have, and reports false for
// one that is gone here: deleted or expired, it must not be brought back.
func (p *peer) handOne(n store.Name, votes chan<- vote) (bool, error) {
	if n.Expiry <= p.s.unixNow() {
		return false, nil
	}
	record, err := p.s.record(refOf(n))
	if err != nil || len(record) == 0 {
		return false, err
	}
	keepers := p.s.view().keepers
	ops := map[store.Kind]opcode{store.KindGrant: opOpen, store.KindEnvelope: opPut, store.KindTombstone: opDelete}
	p.propose(proposal{
		op: ops[n.Kind], addr: n.Address, name: n, keepers: keepers, body: encodeChange(keepers, record),
	}, votes)
	return true, nil
}

// serveOffer says which of the offered records are missing here.
func (s *Swarm) serveOffer(body []byte) ([]byte, error) {
	refs, err := parseRefs(body)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(refs))
	for i, x := range refs {
		has, err := s.cfg.Store.Has(x.kind, x.address, x.ref)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, storeError(err)
		}
		if err == nil && !has {
			out[i] = missing
			s.offered.Store(time.Now().UnixNano())
		}
	}
	return out, nil
}
