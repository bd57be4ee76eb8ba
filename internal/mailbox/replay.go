package mailbox

import (
	"fmt"
	"sync"
	"time"
)

// replaySlot is the span whose nonces are forgotten together.
const replaySlot = 60 // seconds

// DefaultReplayLimit is how many requests a node remembers: some 80 bytes
// each, and at four minutes more than 4,000 requests a second.
const DefaultReplayLimit = 1 << 20

// ReplayCache remembers the nonces of requests while their times count, and
// refuses what is late, early or known. It belongs to one node's request keys.
type ReplayCache struct {
	limit int

	mu        sync.Mutex // guards all below
	count     int
	forgotten uint64                                       // stamps before it may have been forgotten
	slots     map[uint64]map[[StampNonceSize]byte]struct{} // by Stamp.Time / replaySlot
}

// NewReplayCache returns a cache for at most limit requests at a time.
func NewReplayCache(limit int) *ReplayCache {
	return &ReplayCache{limit: limit, slots: make(map[uint64]map[[StampNonceSize]byte]struct{})}
}

// Check remembers a stamp. It returns ErrSkew for one outside MaxClockSkew of
// now, ErrReplay for one known, and ErrBusy when the cache is full: to forget
// a nonce that still counts would let its request in twice.
func (c *ReplayCache) Check(s Stamp, now time.Time) error {
	t := unix(now)
	if err := checkSkew(s.Time, t); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked(t)
	if s.Time < c.forgotten {
		return ErrSkew // the clock was set back, and what it let in is forgotten
	}
	slot := c.slots[s.Time/replaySlot]
	if _, known := slot[s.Nonce]; known {
		return ErrReplay
	}
	if c.count >= c.limit {
		return fmt.Errorf("replay cache full: %w", ErrBusy)
	}
	if slot == nil {
		slot = make(map[[StampNonceSize]byte]struct{})
		c.slots[s.Time/replaySlot] = slot
	}
	slot[s.Nonce] = struct{}{}
	c.count++
	return nil
}

// expireLocked drops the slots whose every time is too old to be accepted.
func (c *ReplayCache) expireLocked(now uint64) {
	for k, slot := range c.slots {
		if (k+1)*replaySlot+seconds(MaxClockSkew) <= now {
			c.count -= len(slot)
			c.forgotten = max(c.forgotten, (k+1)*replaySlot)
			delete(c.slots, k)
		}
	}
}

// Len returns how many requests are remembered.
func (c *ReplayCache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func checkSkew(t, now uint64) error {
	skew := seconds(MaxClockSkew)
	if t+skew < now || t > now+skew {
		return ErrSkew
	}
	return nil
}
