package relay

import (
	"context"
	"time"

	"sotto/internal/onion"
)

// idleLooks is how often what is idle is looked at before it ends: the limit is
// kept to a tenth.
const idleLooks = 10

// endIdle ends circuits and links of clients that are idle, until ctx is done
// (spec/circuit.md §4.10).
func (r *Relay) endIdle(ctx context.Context) {
	circuits, links := time.NewTicker(r.limits.CircuitIdle/idleLooks), time.NewTicker(r.limits.LinkIdle/idleLooks)
	defer circuits.Stop()
	defer links.Stop()
	for {
		select {
		case <-circuits.C:
			r.endIdleCircuits()
		case <-links.C:
			r.endIdleLinks()
		case <-ctx.Done():
			return
		}
	}
}

func (r *Relay) endIdleCircuits() {
	r.mu.Lock()
	var idle []*circuit
	for c := range r.circuits {
		if c.moved.Swap(false) {
			c.looks = 0
		} else if c.looks++; c.looks > idleLooks {
			idle = append(idle, c)
		}
	}
	r.mu.Unlock()
	for _, c := range idle {
		c.destroy(onion.ReasonLimit)
	}
}

func (r *Relay) endIdleLinks() {
	for _, n := range r.links.all() {
		if n.circuits.Load() > 0 {
			n.idle.Store(0)
		} else if n.idle.Add(1) > idleLooks {
			_ = n.link.Close() // it is gone, or goes
		}
	}
}
