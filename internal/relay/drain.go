package relay

import (
	"context"

	"sotto/internal/onion"
)

// draining is the state of a relay that is going down. Relay.mu guards it.
type draining struct {
	on   bool
	gone chan struct{} // closed when no circuit is left; nil before Drain
}

// Drain makes the relay leave in good order (spec/circuit.md §4.9): new
// circuits are refused, the clients of open ones are told, and what is under
// way goes on. It returns how many circuits are left when none is or when ctx
// is done, whichever comes first. The relay still has to be stopped.
func (r *Relay) Drain(ctx context.Context) (left int) {
	gone, open := r.startDrain()
	for _, c := range open {
		c.tell(onion.Truncated(onion.ReasonShutdown))
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
	return r.Circuits()
}

// startDrain returns the circuits that are open, and what is closed when they
// have gone.
func (r *Relay) startDrain() (gone <-chan struct{}, open []*circuit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &r.draining
	if d.on {
		return d.gone, nil
	}
	d.on, d.gone = true, make(chan struct{})
	for c := range r.circuits {
		open = append(open, c)
	}
	r.drainedLocked()
	return d.gone, open
}

// drainedLocked tells Drain when no circuit is left.
func (r *Relay) drainedLocked() {
	if r.draining.on && len(r.circuits) == 0 {
		select {
		case <-r.draining.gone:
		default:
			close(r.draining.gone)
		}
	}
}

// isDraining reports whether new circuits are to be refused.
func (r *Relay) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining.on
}

// Circuits returns how many circuits are open.
func (r *Relay) Circuits() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.circuits)
}
