package bench

import (
	"context"
	"crypto/rand"
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
	boxBytes     = 64 << 20
	boxDays      = 18
	fetchLimit   = 64

	callers     = 64 // as many as a busy member has
	boxes       = 8  // few, since opening one costs work
	readers     = 8
	storeRounds = 3
	syncedTime  = time.Second
	putTime     = 4 * time.Second
	fetchTime   = 4 * time.Second

	// One caller's puts end with whichever of the two comes first.
	singlePuts = 1000
	singleTime = 15 * time.Second
)

var errAnswer = errors.New("bench: unexpected answer of a member")

func stores(ctx context.Context, r Run) (err error) {
	baseline, err := openSynced(filepath.Join(r.Dir, "baseline"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, baseline.close()) }()
	m, err := startMembers(r.Dir)
	if err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil {
			err = ctx.Err() // all callers failed by it
		}
		err = errors.Join(err, m.Close())
	}()
	all, err := m.newCallers(ctx, callers)
	if err != nil {
		return err
	}
	defer closeAll(all)
	if err := putRate(ctx, r, all, baseline); err != nil {
		return err
	}
	if err := fetchRate(r, all[:readers]); err != nil {
		return err
	}
	return m.single(ctx, r)
}

// caller is a client with a mailbox and a stream to one member.
type caller struct {
	r *requester
	b *box
}

// newCallers spreads n callers over the members and over some mailboxes.
func (m *members) newCallers(ctx context.Context, n int) ([]*caller, error) {
	all := make([]*caller, 0, n)
	for i := range n {
		var shared *box
		if i >= boxes {
			shared = all[i%boxes].b
		}
		c, err := m.newCaller(ctx, i, shared)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// newCaller dials member i, and opens a new mailbox unless one is given.
func (m *members) newCaller(ctx context.Context, i int, b *box) (*caller, error) {
	r, err := m.dial(ctx, i)
	if err != nil {
		return nil, err
	}
	if b != nil {
		return &caller{r, b}, nil
	}
	if b, err = m.newBox(); err == nil {
		err = r.open(b)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return &caller{r, b}, nil
}

func closeAll(all []*caller) {
	for _, c := range all {
		c.r.close()
	}
}

// together lets all callers repeat f for d, and returns what f counts, per
// second.
func together(all []*caller, d time.Duration, f func(*caller) (int, error)) (float64, error) {
	var count atomic.Int64
	errs := make([]error, len(all))
	began := time.Now()
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() {
			for time.Since(began) < d {
				n, err := f(c)
				if err != nil {
					errs[i] = err
					return
				}
				count.Add(int64(n))
			}
		})
	}
	wg.Wait()
	return perSecond(int(count.Load()), time.Since(began)), errors.Join(errs...)
}

// putRate measures puts of all callers at once, beside the baseline in turn.
func putRate(ctx context.Context, r Run, all []*caller, baseline *synced) error {
	r.Note("putting %d-byte envelopes as %d callers, and syncing as many bytes as one writer, in turn", envelopeSize, len(all))
	var puts, writes []float64
	for range storeRounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		rate, err := baseline.write(syncedTime)
		if err != nil {
			return err
		}
		writes = append(writes, rate)
		rate, err = together(all, putTime, func(c *caller) (int, error) { return 1, c.put() })
		if err != nil {
			return err
		}
		puts = append(puts, rate)
	}
	return r.emit(Figure{Bench: "store", Name: "put_rate", Value: middle(puts), Unit: "1/s"}.
		against("pebble_synced_writes", middle(writes)))
}

// put leaves one envelope of random bytes, as ciphertexts are.
func (c *caller) put() error {
	envelope := make([]byte, envelopeSize)
	if _, err := rand.Read(envelope); err != nil {
		return err
	}
	return c.r.put(c.b, envelope)
}

// fetchRate counts the envelopes that some callers read, page by page.
func fetchRate(r Run, all []*caller) error {
	r.Note("fetching pages of %d envelopes as %d callers", fetchLimit, len(all))
	places := make(map[*caller]*mailbox.Cursor)
	for _, c := range all {
		places[c] = new(mailbox.Cursor)
	}
	rate, err := together(all, fetchTime, func(c *caller) (int, error) {
		at := places[c]
		page, err := c.r.fetch(c.b, *at)
		if err != nil {
			return 0, err
		}
		if *at = page.Next; !page.More {
			*at = mailbox.Cursor{}
		}
		return len(page.Items), nil
	})
	if err != nil {
		return err
	}
	return r.emit(Figure{Bench: "store", Name: "fetch_rate", Value: rate, Unit: "1/s"})
}

// single puts one envelope after the other at one member, while a subscriber
// waits at another one, and nobody else does anything.
func (m *members) single(ctx context.Context, r Run) error {
	r.Note("putting %d envelopes one by one, with a subscriber at another member", singlePuts)
	writer, err := m.newCaller(ctx, 0, nil)
	if err != nil {
		return err
	}
	defer writer.r.close()
	reader, err := m.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer reader.close()
	opener, err := reader.subscribe(writer.b)
	if err != nil {
		return err
	}
	var puts, pushes []time.Duration
	for end := time.Now().Add(singleTime); len(puts) < singlePuts && time.Now().Before(end); {
		put, push, err := putAndPush(writer, reader, opener)
		if err != nil {
			return err
		}
		puts, pushes = append(puts, put), append(pushes, push)
	}
	return r.emit(
		Figure{Bench: "store", Name: "put_p99", Value: milliseconds(percentile(puts, 99)), Unit: "ms"},
		Figure{Bench: "store", Name: "push_p50", Value: milliseconds(percentile(pushes, 50)), Unit: "ms"},
		Figure{Bench: "store", Name: "push_p99", Value: milliseconds(percentile(pushes, 99)), Unit: "ms"},
	)
}

// putAndPush puts one envelope, and returns when its receipts were checked and
// when the subscriber had it, both from the start.
func putAndPush(writer *caller, reader *requester, opener *mailbox.ReplyOpener) (put, push time.Duration, err error) {
	began := time.Now()
	pushed := make(chan error, 1)
	go func() { // awaited below
		err := reader.next(opener)
		push = time.Since(began)
		pushed <- err
	}()
	if err = writer.put(); err != nil {
		reader.close() // nothing may come
	}
	put = time.Since(began)
	return put, push, errors.Join(err, <-pushed)
}
