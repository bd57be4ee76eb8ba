package api

import "sync"

// states wakes the event streams when the profile's state may have changed.
type states struct {
	mu   sync.Mutex
	wake chan struct{} // closed at the next change; guarded by mu
}

// next returns a channel that is closed at the next change.
func (s *states) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

func (s *states) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}
