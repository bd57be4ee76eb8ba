package store

import (
	"errors"
	"time"
)

// tend is the goroutine that puts the store right again, owned by Store and
// ended by Close. A disk that is full is waited out; a disk that fails in any
// other way ends the store (spec/swarm.md §5.9).
func (s *Store) tend() {
	defer close(s.tended)
	for {
		if err := s.await(); err != nil {
			if !errors.Is(err, ErrClosed) {
				s.broken = err
				close(s.failed)
			}
			return
		}
	}
}

// await returns nil when the store works again after the next trouble, and the
// trouble if it cannot.
func (s *Store) await() error {
	if s.readOnly {
		return s.awaitRoom()
	}
	select {
	case <-s.stop:
		return ErrClosed
	case <-s.fs.frozen:
	}
	if cause := s.fs.err(); !isFull(cause) {
		return stopped(cause)
	}
	s.log.Warn("the disk is full: keeping mailboxes readable, and taking nothing in")
	return s.exchange(true)
}

// awaitRoom opens the store for writing as soon as the disk has room again.
func (s *Store) awaitRoom() error {
	for wait := roomPoll; ; wait = min(2*wait, roomPollMax) {
		t := time.NewTimer(wait)
		select {
		case <-s.stop:
			t.Stop()
			return ErrClosed
		case <-t.C:
		}
		if s.low() {
			continue
		}
		err := s.exchange(false)
		if err == nil {
			s.log.Info("the disk has room again")
			return nil
		}
		if !isFull(err) {
			return err
		}
		if err := s.exchange(true); err != nil {
			return err
		}
	}
}

// exchange closes the engine and opens it anew; the gate stays shut when that
// fails. What it had in memory and not on disk was never acknowledged, and is
// forgotten.
func (s *Store) exchange(readOnly bool) error {
	s.gate.close()
	s.closeEngine()
	if err := s.openFor(readOnly); err != nil {
		return err
	}
	snap := s.summaries.beginAgain()
	s.gate.reopen()
	if snap == nil {
		return nil
	}
	err := s.summaries.build(snap, s.summaries.of, s.halted)
	if err != nil && s.halted() == nil {
		s.log.Error("records not summarised", "error", err)
	}
	return s.halted()
}

// halted reports that the store is closing.
func (s *Store) halted() error {
	select {
	case <-s.stop:
		return ErrClosed
	default:
		return nil
	}
}
