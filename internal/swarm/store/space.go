package store

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// defaultReserve is what must be free on the disk for anything new to be
	// stored. Deletions, expiry and purges go on below it, and need: memtables
	// and logs of 32 MiB each, and the rest of a bucket that a purge rewrites,
	// about 200 MiB in a full store.
	defaultReserve = 512 << 20
	// roomPoll is how often a store that met a full disk looks for room at
	// first, and roomPollMax after several times in vain.
	roomPoll    = time.Second
	roomPollMax = 30 * time.Second
)

// isFull tells a full disk, which comes right when something is removed, from
// one that fails.
func isFull(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT)
}

// free says how much the disk has left; a file system that cannot say counts as
// roomy, and the engine's own errors still tell when it is full.
func (s *Store) free() uint64 {
	usage, err := s.disk.GetDiskUsage(s.dir)
	if err != nil {
		return ^uint64(0)
	}
	return usage.AvailBytes
}

// low reports whether there is room for nothing new (spec/swarm.md §5.9).
func (s *Store) low() bool { return s.free() < s.reserve }

// Health says what keeps a store from taking everything.
type Health struct {
	Free      uint64 // bytes on its disk; the largest number if that is unknown
	Low       bool   // less than the reserve is free: nothing new is stored
	ReadOnly  bool   // the engine met a full disk: nothing is changed
	Repairing bool   // damage is being taken out: nothing is answered
}

// health is what tend tells of itself.
type health struct{ readOnly, repairing atomic.Bool }

// Health tells an operator how the store is.
func (s *Store) Health() Health {
	free := s.free()
	return Health{
		Free: free, Low: free < s.reserve,
		ReadOnly: s.health.readOnly.Load(), Repairing: s.health.repairing.Load(),
	}
}

// Full returns what share of the room for envelopes is taken, of what the store
// may hold or of what the disk has, whichever is less.
func (s *Store) Full() float64 {
	taken := float64(s.Stats().Bytes)
	free := float64(s.free()) - float64(s.reserve)
	room := min(float64(s.max), taken+max(free, 0))
	if room <= 0 {
		return 1
	}
	return min(taken/room, 1)
}
