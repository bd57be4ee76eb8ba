package swarm

import (
	"sync"

	"sotto/internal/identity"
)

// shares counts what clients make a member hold, bytes or streams, by the exit
// that brought them: one exit may have an eighth or so of what there is in all, so
// that one that fills its share leaves room for the others' (spec/swarm.md §5.2).
type shares struct {
	all, each int // that may be held, and that of one exit

	mu   sync.Mutex // guards what follows
	held int
	of   map[identity.NodeID]int
}

func newShares(all, each int) *shares {
	return &shares{all: all, each: each, of: make(map[identity.NodeID]int)}
}

// take counts n more of an exit, unless there is no room for them.
func (s *shares) take(exit identity.NodeID, n int) (room bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held+n > s.all || s.of[exit]+n > s.each {
		return false
	}
	s.held += n
	s.of[exit] += n
	return true
}

// give gives back what was taken.
func (s *shares) give(exit identity.NodeID, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= n
	if s.of[exit] -= n; s.of[exit] <= 0 {
		delete(s.of, exit)
	}
}

// taken returns what is held in all.
func (s *shares) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}
