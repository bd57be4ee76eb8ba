package swarm

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// fetch gets the missing records and stores them: grants first, since the others
// need them, and tombstones before envelopes, which they may spare.
func (r *round) fetch(ctx context.Context) error {
	if len(r.missing) == 0 {
		return nil
	}
	if r.patient {
		r.patient = false
		if err := r.await(ctx); err != nil {
			return err
		}
	}
	rank := map[store.Kind]int{store.KindGrant: 0, store.KindTombstone: 1, store.KindEnvelope: 2}
	slices.SortStableFunc(r.missing, func(a, b store.Name) int { return cmp.Compare(rank[a.Kind], rank[b.Kind]) })
	names := r.missing
	r.missing = nil
	for len(names) > 0 {
		n := min(len(names), getRefs)
		if err := r.get(ctx, names[:n]); err != nil {
			r.missing = names
			return err
		}
		names = names[n:]
	}
	return nil
}

// await gives what is on its way, or being handed over, the time to come, unless
// somebody waits for a round.
func (r *round) await(ctx context.Context) error {
	for range inFlightMax {
		began := time.Now()
		t := time.NewTimer(inFlight)
		select {
		case <-t.C:
		case <-r.p.hurry:
			t.Stop()
			return nil
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		if r.p.s.offered.Load() < began.UnixNano() {
			break
		}
		r.idle.extend(inFlight)
	}
	return nil
}

// get asks for those records that are still missing.
func (r *round) get(ctx context.Context, names []store.Name) error {
	var refs []ref
	for _, n := range names {
		ok, err := r.needed(n)
		if err != nil {
			return err
		}
		if ok {
			refs = append(refs, refOf(n))
		}
	}
	for len(refs) > 0 {
		reply, err := r.p.ask(ctx, opGet, encodeRefs(refs))
		if err != nil {
			return err
		}
		records, err := parseRecords(reply)
		if err != nil {
			return err
		}
		if len(records) == 0 || len(records) > len(refs) {
			return ErrProtocol
		}
		if err := r.store(ctx, refs[:len(records)], records); err != nil {
			return err
		}
		refs = refs[len(records):]
	}
	return nil
}

// store accepts records: neighbours of one kind at once, since they share an
// fsync then, and in order otherwise.
func (r *round) store(ctx context.Context, refs []ref, records [][]byte) error {
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].kind == refs[0].kind {
			n++
		}
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { errs[i] = r.p.acceptRecord(ctx, refs[i], records[i]) })
		}
		wg.Wait()
		for i, err := range errs {
			if err := r.settle(ctx, refs[i], len(records[i]), err); err != nil {
				return err
			}
		}
		refs, records = refs[n:], records[n:]
	}
	return nil
}

// errGone says that a record is no longer where it was listed.
var errGone = errors.New("swarm: record is gone")

// settle judges what became of a record. One that is refused for its content is
// passed over, and not asked for again soon; trouble of one's own is an error.
func (r *round) settle(ctx context.Context, x ref, bytes int, err error) error {
	s := r.p.s
	switch code := mailbox.CodeOf(err); {
	case err == nil:
		s.metrics.caughtUp.Inc()
		s.got.Add(1)
		r.credit += storedCredit
		r.idle.brought(bytes)
		return nil
	case errors.Is(err, errGone):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case code == mailbox.CodeInternal, errors.Is(err, mailbox.ErrBusy),
		errors.Is(err, mailbox.ErrWrongSwarm): // it was ours when the round began
		return err
	}
	s.metrics.refusedCopies.Inc()
	r.p.refusals.add(x, err, s.cfg.Now())
	if r.refused++; r.refused > roundRefusals {
		return errUnproductive
	}
	return nil
}

// acceptRecord accepts one record, which must be the one that was asked for.
func (p *peer) acceptRecord(ctx context.Context, x ref, record []byte) error {
	if len(record) == 0 {
		return errGone
	}
	req, err := mailbox.ParseRequest(record)
	if err != nil {
		return err
	}
	if got, ok := recordOf(req); !ok || got != x {
		return mailbox.ErrFormat
	}
	return p.s.accept(ctx, req)
}

// recordOf names the record that a request makes.
func recordOf(req mailbox.Request) (ref, bool) {
	switch r := req.(type) {
	case *mailbox.Open:
		return ref{store.KindGrant, r.Address(), suite.Hash(labelGrant, mailbox.EncodeRequest(r))}, true
	case *mailbox.Put:
		a := r.Address()
		return ref{store.KindEnvelope, a, mailbox.EnvelopeDigest(a, r.Envelope)}, true
	case *mailbox.Delete:
		return ref{store.KindTombstone, r.Address(), suite.Hash(labelStone, mailbox.EncodeRequest(r))}, true
	}
	return ref{}, false
}

func refOf(n store.Name) ref { return ref{n.Kind, n.Address, n.Ref} }

const (
	// maxRefusals bounds the refused records that are remembered of a peer, about
	// 250 KB.
	maxRefusals = 2048
	// refusedFor is how long one is not asked for again that can never be
	// accepted, refusedNow one that another state of this store may let in.
	refusedFor = 24 * time.Hour
	refusedNow = 10 * time.Minute
)

// refusals remembers records that a peer offered and that were refused, so that
// each costs one look. Beyond its bound it forgets the oldest. It is one peer's:
// a name says nothing of the proof beside the envelope, and who hands out a
// spoiled one must not keep others' away.
type refusals struct {
	// mu guards all below.
	mu    sync.Mutex
	until map[ref]time.Time
	order []ref // a ring
	next  int
}

func (f *refusals) has(x ref, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Before(f.until[x])
}

func (f *refusals) add(x ref, err error, now time.Time) {
	d := refusedFor
	switch mailbox.CodeOf(err) {
	case mailbox.CodeQuota, mailbox.CodeNotOpen, mailbox.CodeExpired, mailbox.CodeUnavailable:
		d = refusedNow
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until == nil {
		f.until = make(map[ref]time.Time)
	}
	if _, known := f.until[x]; !known {
		if len(f.order) < maxRefusals {
			f.order = append(f.order, x)
		} else {
			delete(f.until, f.order[f.next])
			f.order[f.next] = x
			f.next = (f.next + 1) % maxRefusals
		}
	}
	f.until[x] = now.Add(d)
}
