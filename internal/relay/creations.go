package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/onion"
)

// creations shares a relay's cores among the CREATEs that are to be answered:
// so many at a time, and of those that wait the one with the most work in it
// first. Of equal ones the oldest is next, and the first to go when too many
// wait: an overloaded relay then answers those who have just come, before they
// lose patience (spec/circuit.md §4.1). While nobody waits, no work is needed.
type creations struct {
	max        int // answered at a time
	maxWaiting int
	gauge      prometheus.Gauge // of waiting

	mu      sync.Mutex // guards what follows
	running int
	waiting []*creation // most effort first, of equal ones the oldest
	proofs  onion.Proofs
}

// creation is a CREATE that waits. turn gets nil or errBusy.
type creation struct {
	effort uint8
	turn   chan error
}

// use refuses work that was used before.
func (q *creations) use(proof onion.Proof, now time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.proofs.Use(proof, now)
}

// enter waits for the turn of a CREATE with that effort; leave must follow. The
// error is errBusy, or ctx's.
func (q *creations) enter(ctx context.Context, effort uint8) error {
	c := q.join(effort)
	if c == nil {
		return nil
	}
	select {
	case err := <-c.turn:
		return err
	case <-ctx.Done():
	}
	if !q.remove(c) && <-c.turn == nil {
		q.leave() // its turn came in the same moment
	}
	return ctx.Err()
}

// join takes a place, and returns nil if it is c's turn at once.
func (q *creations) join(effort uint8) *creation {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running < q.max {
		q.running++
		return nil
	}
	c := &creation{effort: effort, turn: make(chan error, 1)}
	at, _ := slices.BinarySearchFunc(q.waiting, effort, func(c *creation, effort uint8) int {
		return laterThan(c.effort, effort)
	})
	q.waiting = slices.Insert(q.waiting, at, c)
	if len(q.waiting) > q.maxWaiting {
		least := q.waiting[len(q.waiting)-1].effort
		oldest := slices.IndexFunc(q.waiting, func(c *creation) bool { return c.effort == least })
		q.waiting[oldest].turn <- errBusy
		q.waiting = slices.Delete(q.waiting, oldest, oldest+1)
	}
	q.gauge.Set(float64(len(q.waiting)))
	return c
}

// laterThan orders waiting by falling effort, so that what is inserted comes
// after all that are its equals.
func laterThan(waiting, effort uint8) int {
	if waiting >= effort {
		return -1
	}
	return 1
}

// remove takes c out of the queue; false if it is not there any more.
func (q *creations) remove(c *creation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.waiting, c)
	if at < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, at, at+1)
	q.gauge.Set(float64(len(q.waiting)))
	return true
}

// leave gives the turn to the next.
func (q *creations) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.running--
		return
	}
	q.waiting[0].turn <- nil
	q.waiting = slices.Delete(q.waiting, 0, 1)
	q.gauge.Set(float64(len(q.waiting)))
}
