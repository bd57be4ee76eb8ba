package swarm

import (
	"sync"

	"sotto/internal/identity"
)

// shares counts bytes that clients make a member hold, by the exit that brought
// them: one exit may have an eighth of what there is in all, so that one that
// fills its share leaves room for the others' (spec/swarm.md §5.2).
type shares struct {
	all int // that may be held

	mu   sync.Mutex // guards what follows
	held int
	of   map[identity.NodeID]int
}

// shareOfExit is what part of all one exit may hold.
const shareOfExit = 8

func newShares(all int) *shares { return &shares{all: all, of: make(map[identity.NodeID]int)} }

// take counts n bytes more of an exit, unless there is no room for them.
func (s *shares) take(exit identity.NodeID, n int) (room bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held+n > s.all || s.of[exit]+n > s.all/shareOfExit {
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

// bytes returns what is held in all.
func (s *shares) bytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}
