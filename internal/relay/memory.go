package relay

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/onion"
)

// memory is the total of the buffers that hold what waits on a node's circuits,
// whole ones even where they are not full (spec/circuit.md §4.7, §4.11).
type memory struct {
	total atomic.Int64
	max   int64
	gauge prometheus.Gauge
}

// add counts n more bytes and returns the total.
func (m *memory) add(n int64) int64 {
	m.gauge.Add(float64(n))
	return m.total.Add(n)
}

// account is one circuit's part of the total.
type account struct {
	memory *memory

	mu     sync.Mutex // guards what follows
	bytes  int64
	closed bool
}

// add counts n more bytes, or fewer if n is negative, and reports whether the
// node's total still fits.
func (a *account) add(n int) (fits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return true
	}
	a.bytes += int64(n)
	return a.memory.add(int64(n)) <= a.memory.max
}

// queued returns the circuit's part; a closed account has none.
func (a *account) queued() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes
}

// close gives the circuit's part back at once, though its queues are emptied
// a moment later, so that one excess never costs two circuits.
func (a *account) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory.add(-a.bytes)
	a.bytes, a.closed = 0, true
}

// shed destroys the circuits with the most waiting bytes until the total fits.
func (r *Relay) shed() {
	for r.memory.total.Load() > r.memory.max {
		worst := r.heaviest()
		if worst == nil {
			return
		}
		worst.destroy(onion.ReasonLimit)
	}
}

func (r *Relay) heaviest() *circuit {
	r.mu.Lock()
	defer r.mu.Unlock()
	var worst *circuit
	var most int64
	for c := range r.circuits {
		if n := c.account.queued(); n > most {
			worst, most = c, n
		}
	}
	return worst
}
