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
	// effortFor is how long a node is paid after it was busy.
	effortFor = time.Minute
)

// errTooDear ends a build at a node that is busy beyond what we pay.
var errTooDear = errors.New("it is too busy, even for as much work as this computer does")

// efforts is what nodes that were busy lately are paid.
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

// raise doubles what a node gets that was busy for what it was paid. It returns
// false if that would be too much; then nothing is paid for a while.
func (e *efforts) raise(id identity.NodeID, paid uint8, now time.Time) bool {
	next := max(firstEffort, paid+1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if next > maxEffort {
		delete(e.nodes, id)
		return false
	}
	if now.After(e.nodes[id].until) || next > e.nodes[id].effort { // or another build has raised it
		e.nodes[id] = effort{next, now.Add(effortFor)}
	}
	return true
}

// handshake starts the handshake with a node, with as much work as it is paid.
// The work ends with ctx.
func (m *Manager) handshake(ctx context.Context, node directory.Node) (*onion.ClientHandshake, []byte, uint8, error) {
	paid := m.efforts.of(node.ID, m.cfg.Now())
	if paid == 0 {
		shake, create, err := onion.StartHandshake(m.rand, node.ID, node.OnionKey, onion.ClassStream, nil)
		return shake, create, 0, err
	}
	select {
	case m.efforts.working <- struct{}{}:
		defer func() { <-m.efforts.working }()
	case <-ctx.Done():
		return nil, nil, paid, ctx.Err()
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
	return shake, create, paid, err
}

// payMore reports whether a build that failed is worth another attempt along the
// same path, because a node was too busy for what it was paid.
func (m *Manager) payMore(at *buildError) bool {
	var why *ReasonError
	if !errors.As(at.err, &why) || why.Reason != onion.ReasonBusy {
		return false
	}
	if !m.efforts.raise(at.node.ID, at.paid, m.cfg.Now()) {
		at.err = errTooDear
		return false
	}
	m.emit(EventBusy, 0, "The node of %s is busy. This computer does some work to be let in.", at.node.Operator)
	return true
}
