package store

import (
	"errors"
	"fmt"
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
	case <-s.damaged:
		return s.repair()
	case <-s.fs.frozen:
	}
	if cause := s.fs.err(); !isFull(cause) {
		return stopped(cause)
	}
	s.health.readOnly.Store(true)
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
			s.health.readOnly.Store(false)
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
	return s.resume(readOnly)
}

// resume opens the engine and the gate, and makes the summaries again.
func (s *Store) resume(readOnly bool) error {
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

// repair saves what is whole of a damaged store into a new one, and goes on with
// that. Meanwhile callers are told to come again.
func (s *Store) repair() error {
	s.log.Error("the store is damaged: saving what is whole, other members have the rest")
	s.health.repairing.Store(true)
	defer s.health.repairing.Store(false)
	s.gate.close()
	if err := s.salvage(s.db); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	s.losses.Add(1) // before it answers, so that nobody trusts it too early
	if err := s.resume(false); err != nil {
		return err
	}
	s.log.Warn("the store is repaired; the damaged one was set aside, to be looked at and removed", "folder", s.disk.PathBase(s.dir)+SuffixDamaged)
	signal(s.repaired)
	return nil
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
