package swarm

import (
	"context"
	"errors"
	"sync"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// catchUpLoop tails a peer's replication log: when the stream to it stands,
// when the peer says so, and at an interval (spec/swarm.md §5.4).
func (p *peer) catchUpLoop(ctx context.Context) {
	t := time.NewTimer(p.s.jitter(p.s.cfg.CatchUpEvery))
	defer t.Stop()
	for {
		select {
		case <-p.catchUp:
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if err := p.tail(ctx); err != nil && ctx.Err() == nil {
			p.s.cfg.Logger.Debug("catching up failed", "node", p.id.String(), "error", err)
		}
		t.Reset(p.s.jitter(p.s.cfg.CatchUpEvery))
	}
}

// tail reads the peer's log to its end, by a reading that begins after the call;
// callers that wait for one another share it.
func (p *peer) tail(ctx context.Context) error {
	seen := p.tails.Load()
	select {
	case p.tailing <- struct{}{}:
		defer func() { <-p.tailing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.tails.Load() != seen {
		return nil // one began and ended since
	}
	p.tails.Add(1)
	return p.follow(ctx)
}

// follow goes from the stored cursor to the end. The cursor moves only past
// entries that were settled, so an error costs nothing.
func (p *peer) follow(ctx context.Context) error {
	st := p.s.cfg.Store
	restarted := false
	for {
		incarnation, since, err := st.PeerCursor(p.id)
		if err != nil {
			return err
		}
		reply, err := p.ask(ctx, opLog, logQuery{incarnation, since, logEntries}.encode())
		if err != nil {
			return err
		}
		page, err := parseLogPage(reply)
		if err != nil {
			return err
		}
		// A log goes forward, and begins anew once at most while we look.
		switch {
		case page.incarnation == incarnation && page.more && page.next <= since,
			page.incarnation != incarnation && restarted:
			return protocol("log that goes in circles", wire.ErrTooLong)
		}
		restarted = restarted || page.incarnation != incarnation
		if err := p.settle(ctx, page.entries); err != nil {
			return err
		}
		if page.incarnation != incarnation || page.next != since {
			if err := st.SetPeerCursor(p.id, page.incarnation, page.next); err != nil {
				return err
			}
		}
		if !page.more || len(page.entries) == 0 {
			p.tailed.Store(true)
			return nil
		}
	}
}

// refresh looks at the peers' logs now, and returns when so many have been read
// that they and this member are a majority, or none is left.
func (s *Swarm) refresh(ctx context.Context, v *view) {
	done := make(chan error, len(v.peers))
	for _, p := range v.peers {
		s.wg.Go(func() { done <- p.tail(ctx) }) // the caller's stream holds wg open
	}
	read := 1
	for range v.peers {
		if read >= v.majority {
			return
		}
		if err := <-done; err == nil {
			read++
		}
	}
}

// notOpen is the answer for a mailbox that is not here. A member that has not
// yet seen the logs of a majority may only have missed its opening.
func (v *view) notOpen() error {
	seen := 1
	for _, p := range v.peers {
		if p.tailed.Load() {
			seen++
			continue
		}
		p.catchUpSoon()
	}
	if seen >= v.majority {
		return mailbox.ErrNotOpen
	}
	return mailbox.ErrBusy
}

// settle fetches and stores those entries that are missing here.
func (p *peer) settle(ctx context.Context, entries []store.LogEntry) error {
	missing, err := p.missing(entries)
	if err != nil {
		return err
	}
	for len(missing) > 0 {
		ask := missing[:min(len(missing), getRefs)]
		reply, err := p.ask(ctx, opGet, encodeRefs(ask))
		if err != nil {
			return err
		}
		records, err := parseRecords(reply)
		if err != nil {
			return err
		}
		if len(records) == 0 || len(records) > len(ask) {
			return ErrProtocol
		}
		if err := p.store(ctx, ask[:len(records)], records); err != nil {
			return err
		}
		missing = missing[len(records):]
	}
	return nil
}

func (p *peer) missing(entries []store.LogEntry) ([]ref, error) {
	now, v := p.s.unixNow(), p.s.view()
	var out []ref
	for _, e := range entries {
		if e.Expiry <= now || !v.keeps(e.Address) {
			continue
		}
		has, err := p.s.cfg.Store.Has(e.Kind, e.Address, e.Ref)
		if errors.Is(err, store.ErrNotFound) {
			continue // a kind that this program doesn't know
		}
		if err != nil {
			return nil, err
		}
		if !has {
			out = append(out, ref{e.Kind, e.Address, e.Ref})
		}
	}
	return out, nil
}

// store accepts records in the order of the log: neighbours of one kind at
// once, since they share an fsync then, and grants before what needs them.
func (p *peer) store(ctx context.Context, refs []ref, records [][]byte) error {
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].kind == refs[0].kind {
			n++
		}
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { errs[i] = p.storeOne(ctx, refs[i], records[i]) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		refs, records = refs[n:], records[n:]
	}
	return nil
}

// storeOne accepts one record. What is refused for its content is passed over:
// asking again would not make it better. Only trouble of one's own is an error.
func (p *peer) storeOne(ctx context.Context, x ref, record []byte) error {
	if len(record) == 0 {
		return nil
	}
	err := p.acceptRecord(ctx, x, record)
	switch {
	case err == nil:
		p.s.metrics.caughtUp.Inc()
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case mailbox.CodeOf(err) == mailbox.CodeInternal, errors.Is(err, mailbox.ErrBusy):
		return err
	}
	p.s.metrics.refusedCopies.Inc()
	return nil
}

func (p *peer) acceptRecord(ctx context.Context, x ref, record []byte) error {
	req, err := mailbox.ParseRequest(record)
	if err != nil {
		return err
	}
	if a, ok := addressOf(req); !ok || a != mailbox.Address(x.address) {
		return mailbox.ErrFormat
	}
	return p.s.accept(ctx, req)
}
