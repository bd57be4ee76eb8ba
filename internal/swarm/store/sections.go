package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// ScanRows bounds the rows of table x that one call of another member makes this
// one read. It is far more than a leaf has, since rows of other sections may lie
// between.
const ScanRows = 1 << 18

// change is a name that came into the replicated set or left it.
type change struct {
	name Name
	gone bool
}

// summaries keep each section's summary in step with table x. They follow the
// batches that came to disk, in their order, and are made by a scan (Resection);
// what changes while it runs waits for its end.
type summaries struct {
	s *Store

	// mu guards all below.
	mu       sync.Mutex
	of       func(Address) uint16 // nil before the first scan
	sections map[uint16]*summary  // nil while a scan runs, or none was made
	scanning bool
	pending  []change
	made     chan struct{} // closed when there are sections
}

func newSummaries(s *Store) *summaries { return &summaries{s: s, made: make(chan struct{})} }

// apply follows one batch. The writer calls it after the batch is on disk, and
// before the next one is read by anybody who is to find the sums in step.
func (x *summaries) apply(changes []change) {
	if len(changes) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.scanning:
		x.pending = append(x.pending, changes...)
	case x.sections != nil:
		x.applyLocked(changes)
	}
}

func (x *summaries) applyLocked(changes []change) {
	full := make(map[uint16][]Bound)
	for _, c := range changes {
		id, name := x.of(c.name.Address), c.name.key()[1:]
		y := x.sections[id]
		if y == nil {
			y = newSummary()
			x.sections[id] = y
		}
		if y.change(name, c.gone) {
			full[id] = append(full[id], Bound(name))
		}
	}
	for id, names := range full {
		for _, at := range names {
			x.splitLocked(id, x.sections[id], at)
		}
	}
}

// splitLocked reads the names of a leaf that is too full. It leaves the leaf as
// it is when the database is ahead of the sums; the next name tries again.
func (x *summaries) splitLocked(id uint16, y *summary, at Bound) {
	i := y.find(at)
	if y.leaves[i].sum.Count <= leafMax {
		return // split since
	}
	f, budget := newFiller(y.leaves[i].lo), ScanRows
	_, err := x.scan(x.s.db, id, x.of, y.leaves[i].lo, y.hi(i), &budget, func(name []byte) bool {
		f.add(name)
		return true
	})
	if err == nil && f.total() == y.leaves[i].sum {
		y.replace(i, f.leaves)
	}
}

// build makes all summaries from a snapshot of the moment since which changes
// wait. It closes the snapshot.
func (x *summaries) build(snap *pebble.Snapshot, of func(Address) uint16, halted func() error) error {
	fillers := make(map[uint16]*filler)
	err := fill(snap, of, fillers, halted)
	err = errors.Join(err, snap.Close())
	x.mu.Lock()
	defer x.mu.Unlock()
	pending := x.pending
	x.scanning, x.pending = false, nil
	if err != nil {
		return err
	}
	x.sections = make(map[uint16]*summary)
	for id, f := range fillers {
		x.sections[id] = &summary{leaves: f.leaves}
	}
	x.applyLocked(pending)
	close(x.made)
	return nil
}

func fill(snap *pebble.Snapshot, of func(Address) uint16, fillers map[uint16]*filler, halted func() error) error {
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: []byte{tabRecord}, UpperBound: []byte{tabRecord + 1}})
	if err != nil {
		return fmt.Errorf("store: iterate: %w", err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var n Name
		if n, err = parseKeyRecord(it.Key()); err != nil {
			break
		}
		id := of(n.Address)
		if fillers[id] == nil {
			fillers[id] = newFiller(First)
		}
		fillers[id].add(it.Key()[1:])
		err = halted()
	}
	return errors.Join(err, it.Error(), it.Close())
}

// scan visits the names of a section in [lo, hi), in order, until visit says
// no or the budget of rows is spent. It returns where it stopped: hi at the end.
func (x *summaries) scan(r pebble.Reader, id uint16, of func(Address) uint16, lo, hi Bound, budget *int, visit func(name []byte) bool) (Bound, error) {
	if lo >= hi {
		return hi, nil
	}
	opts := &pebble.IterOptions{LowerBound: append([]byte{tabRecord}, lo...), UpperBound: append([]byte{tabRecord}, hi...)}
	it, err := r.NewIter(opts)
	if err != nil {
		return lo, fmt.Errorf("store: iterate: %w", err)
	}
	at := hi
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()
		if len(k) != 1+NameSize {
			err = ErrCorrupt
			break
		}
		if *budget <= 0 {
			at = Bound(k[1:])
			break
		}
		*budget--
		if of(Address(k[10:42])) == id && !visit(k[1:]) {
			at = Bound(k[1:])
			break
		}
	}
	return at, errors.Join(err, it.Error(), it.Close())
}

// Summarised is closed when Sums and Parts answer, until the next Resection.
func (s *Store) Summarised() <-chan struct{} {
	s.summaries.mu.Lock()
	defer s.summaries.mu.Unlock()
	return s.summaries.made
}

// Resection tells the store its sections, each with a summary of its own: which
// swarm an address belongs to under a directory. It returns when the summaries
// are made; a million records take about a second, during which the store goes
// on with everything else. A store has none before the first call. Calls do not
// overlap: it returns ErrNotReady while another one runs.
func (s *Store) Resection(ctx context.Context, of func(Address) uint16) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	x := s.summaries
	var snap *pebble.Snapshot
	began := make(chan struct{})
	start := func() {
		defer close(began)
		snap = x.begin(of)
	}
	select {
	case s.between <- start:
		<-began
	case <-ctx.Done():
		return ctx.Err()
	}
	if snap == nil {
		return ErrNotReady
	}
	return x.build(snap, of, ctx.Err)
}

// begin forgets the summaries and makes changes wait. It returns what is to be
// scanned, or nil while another scan runs.
func (x *summaries) begin(of func(Address) uint16) *pebble.Snapshot {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.scanning {
		return nil
	}
	if x.sections != nil {
		x.made = make(chan struct{})
	}
	x.of, x.scanning, x.sections = of, true, nil
	return x.s.db.NewSnapshot()
}

// beginAgain begins with the sections that there were, if any: the engine is
// another one, and may know what no summary does.
func (x *summaries) beginAgain() *pebble.Snapshot {
	x.mu.Lock()
	of := x.of
	x.mu.Unlock()
	if of == nil {
		return nil
	}
	return x.begin(of)
}

// sectionLocked returns a section's summary, which may be empty.
func (x *summaries) sectionLocked(id uint16) (*summary, error) {
	if x.sections == nil {
		return nil, ErrNotReady
	}
	if y := x.sections[id]; y != nil {
		return y, nil
	}
	return newSummary(), nil
}

// place is a bound's place in a summary.
type place struct {
	before Sum   // of all leaves before its own
	lo     Bound // of its leaf
	some   bool  // whether that has names
}

// Sums returns the sums of the ranges between neighbouring bounds, which are in
// order. They are exact when nothing changes meanwhile. Reading what bounds cut
// off leaves takes from the budget of rows; ErrBusy says that it is spent.
func (s *Store) Sums(section uint16, bounds []Bound, budget *int) ([]Sum, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	x := s.summaries
	places, of, err := x.places(section, bounds)
	if err != nil {
		return nil, err
	}
	var sums []Sum
	var last Sum
	for i, at := range bounds {
		here := places[i].before
		if places[i].some && places[i].lo < at {
			_, err := x.scan(s.db, section, of, places[i].lo, at, budget, func(name []byte) bool {
				here = here.plus(sumOf(name))
				return true
			})
			if err != nil {
				return nil, err
			}
			if *budget <= 0 {
				return nil, ErrBusy
			}
		}
		if i > 0 {
			sums = append(sums, here.minus(last))
		}
		last = here
	}
	return sums, nil
}

func (x *summaries) places(section uint16, bounds []Bound) ([]place, func(Address) uint16, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	y, err := x.sectionLocked(section)
	if err != nil {
		return nil, nil, err
	}
	if !slices.IsSorted(bounds) {
		return nil, nil, ErrOrder
	}
	out := make([]place, len(bounds))
	var before Sum
	i := 0
	for b, at := range bounds {
		for ; i+1 < len(y.leaves) && y.leaves[i+1].lo <= at; i++ {
			before = before.plus(y.leaves[i].sum)
		}
		out[b] = place{before, y.leaves[i].lo, y.leaves[i].sum.Count > 0}
	}
	return out, x.of, nil
}

// Parts returns bounds that cut [lo, hi) into at most n ranges of about as many
// names; none when it has no more than a leaf's.
func (s *Store) Parts(section uint16, lo, hi Bound, n int) ([]Bound, error) {
	x := s.summaries
	x.mu.Lock()
	defer x.mu.Unlock()
	y, err := x.sectionLocked(section)
	if err != nil || lo >= hi {
		return nil, err
	}
	first := y.find(lo) + 1
	leaves := y.leaves[first:max(first, y.find(hi)+1)]
	if k := len(leaves); k > 0 && leaves[k-1].lo == hi {
		leaves = leaves[:k-1]
	}
	cuts := min(n-1, len(leaves))
	out := make([]Bound, 0, cuts)
	for i := range cuts {
		out = append(out, leaves[(i+1)*len(leaves)/(cuts+1)].lo)
	}
	return out, nil
}

// Names visits the names of a section in [lo, hi), in order, until visit says
// no or the budget of rows is spent, and returns where to go on: hi at the end.
func (s *Store) Names(section uint16, lo, hi Bound, budget *int, visit func(Name) bool) (Bound, error) {
	if err := s.enter(); err != nil {
		return lo, err
	}
	defer s.leave()
	places, of, err := s.summaries.places(section, []Bound{First, End})
	if err != nil {
		return lo, err
	}
	if last := places[1]; last.before.Count == 0 && !last.some {
		return hi, nil // nothing here is of that section: no reason to read on
	}
	return s.summaries.scan(s.db, section, of, lo, hi, budget, func(name []byte) bool {
		return visit(ReadName(wire.NewReader(name)))
	})
}
