package bench

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/mailbox"
)

// What is put and fetched.
const (
	envelopeSize = 4096 // the smallest class, which most messages fit
	envelopeLife = 24 * time.Hour
	boxDays      = 18
	smallBox     = 4 << 20 // for hundreds of puts
	fetchLimit   = 64
)

var errAnswer = errors.New("bench: unexpected answer of a member")

// storeSizes say how much is measured.
type storeSizes struct {
	streams int // on which one member is given puts at once
	boxes   int // among which they are spread: few, since opening one costs work
	box     uint32
	rounds  int
	synced  time.Duration // of each round's baseline
	puts    int           // of a round
	putTime time.Duration // of a round, at most
	paced   time.Duration // of each run at a given rate
	readers int
	fetch   time.Duration
	crowd   int // clients that give puts at once

	subscribers int
	pushRate    float64
}

var fullStore = storeSizes{
	streams: 64, boxes: 8, box: 64 << 20,
	rounds: 3, synced: time.Second, puts: 6000, putTime: 4 * time.Second, paced: 3 * time.Second,
	readers: 8, fetch: 3 * time.Second, crowd: 512,
	subscribers: 40, pushRate: 500,
}

func stores(ctx context.Context, r Run) error {
	if err := measureStore(ctx, r, fullStore); err != nil {
		return err
	}
	if err := catchUp(ctx, r, fullCatchUp); err != nil {
		return err
	}
	return subscriptions(ctx, r)
}

// storeRun is what the measurements of a swarm share.
type storeRun struct {
	Run
	storeSizes
	m        *members
	baseline *synced
	streams  []*requester // all to the same member, which coordinates
	boxes    []*box
	rate     float64 // puts a second that were measured
}

func measureStore(ctx context.Context, r Run, sizes storeSizes) (err error) {
	s := &storeRun{Run: r, storeSizes: sizes}
	defer func() {
		if ctx.Err() != nil {
			err = ctx.Err() // everything failed by it
		}
		err = errors.Join(err, s.close())
	}()
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, measure := range []func(context.Context) error{s.putRate, s.halfRate, s.pushes, s.fetchRate, s.overload, s.absence} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *storeRun) start(ctx context.Context) (err error) {
	if s.baseline, err = openSynced(filepath.Join(s.Dir, "baseline")); err != nil {
		return err
	}
	if s.m, err = startMembers(s.Dir); err != nil {
		return err
	}
	if s.streams, err = s.m.dialMany(ctx, 0, s.storeSizes.streams); err != nil {
		return err
	}
	s.boxes, err = s.m.openBoxes(s.streams[0], s.storeSizes.boxes, s.box)
	return err
}

func (s *storeRun) close() error {
	closeAll(s.streams)
	var errs []error
	if s.m != nil {
		errs = append(errs, s.m.Close())
	}
	if s.baseline != nil {
		errs = append(errs, s.baseline.close())
	}
	return errors.Join(errs...)
}

// putRate measures how many puts one coordinator answers, beside the baseline
// in turn.
func (s *storeRun) putRate(ctx context.Context) error {
	s.Note("giving sealed puts of %d bytes to one member on %d streams, and syncing as many bytes as one writer, in turn", envelopeSize, len(s.streams))
	var puts, writes []float64
	for range s.rounds {
		rate, err := s.baseline.write(s.synced)
		if err != nil {
			return err
		}
		writes = append(writes, rate)
		if rate, err = s.putRound(ctx); err != nil {
			return err
		}
		puts = append(puts, rate)
	}
	s.rate = middle(puts)
	return s.emit(Figure{Bench: "store", Name: "put_rate", Value: s.rate, Unit: "1/s"}.
		against("pebble_synced_writes", middle(writes)))
}

func (s *storeRun) putRound(ctx context.Context) (float64, error) {
	all, err := prepare(ctx, s.streams[:1], s.boxes, s.puts)
	if err != nil {
		return 0, err
	}
	given, took := together(s.streams, all, s.putTime)
	stored, err := outcome(given)
	return perSecond(len(stored), took), err
}

// halfRate measures how long puts take at half of what the swarm can do.
func (s *storeRun) halfRate(ctx context.Context) error {
	rate := s.rate / 2
	s.Note("giving puts at half that rate")
	all, err := prepare(ctx, s.streams[:1], s.boxes, int(rate*s.paced.Seconds())+1)
	if err != nil {
		return err
	}
	paced(s.streams, all, rate)
	stored, err := outcome(all)
	if err != nil {
		return err
	}
	took := latencies(stored)
	return s.emit(
		Figure{Bench: "store", Name: "put_p50_half_rate", Value: milliseconds(percentile(took, 50)), Unit: "ms"},
		Figure{Bench: "store", Name: "put_p99_half_rate", Value: milliseconds(percentile(took, 99)), Unit: "ms"},
	)
}

// fetchRate counts the envelopes that some callers read, page by page, from
// members in turn.
func (s *storeRun) fetchRate(ctx context.Context) error {
	s.Note("fetching pages of %d envelopes on %d streams", fetchLimit, s.readers)
	var count atomic.Int64
	errs := make([]error, s.readers)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range s.readers {
		wg.Go(func() { errs[i] = s.fetchAll(ctx, i, began.Add(s.fetch), &count) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	rate := perSecond(int(count.Load()), time.Since(began))
	return s.emit(Figure{Bench: "store", Name: "fetch_rate", Value: rate, Unit: "1/s"})
}

func (s *storeRun) fetchAll(ctx context.Context, i int, end time.Time, count *atomic.Int64) error {
	r, err := s.m.dial(ctx, i)
	if err != nil {
		return err
	}
	defer r.close()
	b, at := s.boxes[i%len(s.boxes)], mailbox.Cursor{}
	for time.Now().Before(end) {
		page, err := r.fetch(b, at)
		if err != nil {
			return err
		}
		count.Add(int64(len(page.Items)))
		if at = page.Next; !page.More {
			at = mailbox.Cursor{}
		}
	}
	return nil
}
