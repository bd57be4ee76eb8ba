package circuit

import (
	"context"
	"errors"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/onion"
)

// Work for relays that are too busy to answer everybody (spec/circuit.md §5.12).
const (
	// firstEffort is what is paid at first: some milliseconds of a core.
	firstEffort = 14
	// maxEffort bounds what a relay can ask for by saying that it is busy, again
	// and again; so does maxWork on slow machines.
	maxEffort = 24
	// maxWork is how long one CREATE is worked for.
	maxWork = 2 * time.Second
	// effortFor is how long a guard is paid after it was busy.
	effortFor = time.Minute
)

// errTooDear ends a build at a node that is busy beyond what we pay.
var errTooDear = errors.New("it is too busy, even for as much work as this computer does")

// efforts is what guards that were busy lately are paid. Of other hops nothing
// is remembered from one build to the next: a node that calls itself busy so
// often that nobody else pays as much would know by the payment the circuits of
// one client that come to it by different ways.
type efforts struct {
	working chan struct{} // holds one: work is done for one circuit at a time

	mu    sync.Mutex // guards nodes
	nodes map[identity.NodeID]effort
}

type effort struct {
	effort uint8
	until  time.Time
}

func newEfforts() *efforts {
	return &efforts{working: make(chan struct{}, 1), nodes: make(map[identity.NodeID]effort)}
}

// of returns what the node is paid.
func (e *efforts) of(id identity.NodeID, now time.Time) uint8 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.After(e.nodes[id].until) {
		delete(e.nodes, id)
	}
	return e.nodes[id].effort
}

// raised doubles what a node gets that was busy for what it was paid; ok is
// false if that would be too much.
func raised(paid uint8) (next uint8, ok bool) {
	next = max(firstEffort, paid+1)
	return next, next <= maxEffort
}

// raise is raised for a guard, and remembers it. If it is too much, nothing is
// paid for a while.
func (e *efforts) raise(id identity.NodeID, paid uint8, now time.Time) (next uint8, ok bool) {
	next, ok = raised(paid)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !ok {
		delete(e.nodes, id)
		return 0, false
	}
	if now.After(e.nodes[id].until) || next > e.nodes[id].effort { // or another build has raised it
		e.nodes[id] = effort{next, now.Add(effortFor)}
	}
	return e.nodes[id].effort, true
}

// handshake starts the handshake with a node, with as much work as it is paid.
// The work ends with ctx.
func (m *Manager) handshake(ctx context.Context, node directory.Node, paid uint8) (*onion.ClientHandshake, []byte, error) {
	if paid == 0 {
		return onion.StartHandshake(m.rand, node.ID, node.OnionKey, onion.ClassStream, nil)
	}
	select {
	case m.efforts.working <- struct{}{}:
		defer func() { <-m.efforts.working }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	enough := time.Now().Add(maxWork)
	shake, create, err := onion.PaidHandshake(m.rand, node.ID, node.OnionKey, onion.ClassStream, nil, onion.Payment{
		Effort: paid, At: m.cfg.Now(),
		Stop: func() bool { return ctx.Err() != nil || time.Now().After(enough) },
	})
	if errors.Is(err, onion.ErrStopped) {
		if err = ctx.Err(); err == nil {
			err = errTooDear
		}
	}
	return shake, create, err
}

// payments is what a build pays each hop.
type payments [hops]uint8

// payMore reports whether a build that failed is worth another attempt along the
// same path, because a node was too busy for what it was paid, and raises that.
func (m *Manager) payMore(at *buildError, pay *payments) bool {
	var why *ReasonError
	if !errors.As(at.err, &why) || why.Reason != onion.ReasonBusy {
		return false
	}
	next, ok := raised(pay[at.hop])
	if at.hop == 0 {
		next, ok = m.efforts.raise(at.node.ID, pay[0], m.cfg.Now())
	}
	if !ok {
		at.err = errTooDear
		return false
	}
	pay[at.hop] = next
	m.emit(EventBusy, 0, "The node of %s is busy. This computer does some work to be let in.", at.node.Operator)
	return true
}
