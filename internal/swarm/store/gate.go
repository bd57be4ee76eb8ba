package store

import "sync"

// gate lets callers use the engine, and lets one goroutine exchange it: while
// the gate is shut nobody is inside, and who comes is told so at once instead of
// waiting for an exchange that may take minutes.
type gate struct {
	mu     sync.Mutex // guards all below; a leaf
	empty  sync.Cond
	inside int
	shut   bool
	closed bool // for good
}

func newGate() *gate {
	g := &gate{}
	g.empty.L = &g.mu
	return g
}

// enter admits a caller, who must leave.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return ErrClosed
	case g.shut:
		return ErrAway
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		g.empty.Broadcast()
	}
}

// close shuts the gate until reopen, and returns when the last caller has left.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.drainLocked()
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

// end shuts the gate for good; it reports false when that was done before.
func (g *gate) end() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.drainLocked()
	return true
}

func (g *gate) drainLocked() {
	for g.inside > 0 {
		g.empty.Wait()
	}
}
