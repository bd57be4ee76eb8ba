package ratchet

import (
	"cmp"
	"fmt"
	"slices"

	"sotto/internal/suite"
)

// chain is a receiving chain. A closed one, whose end is known, has no chain
// key any more and remains for the messages of it that are still to come.
type chain struct {
	header  suite.Key // HKr
	key     suite.Key // CKr, zero when closed
	closed  bool
	next    uint32 // Nr
	floor   uint32 // below it, keys may have been dropped for MaxSkip
	skipped []skippedKey
}

// skippedKey is the key of a message that others have overtaken.
type skippedKey struct {
	number uint32
	key    suite.Key
}

// find returns the place of message n among the skipped keys.
func (c *chain) find(n uint32) (int, bool) {
	return slices.BinarySearchFunc(c.skipped, n, func(k skippedKey, n uint32) int {
		return cmp.Compare(k.number, n)
	})
}

// walk computes the chain key at message n, from next on, and the message keys
// on the way, of which only the last MaxSkip: older ones would be dropped at
// once. The chain itself does not change.
func (c *chain) walk(n uint32) (at suite.Key, passed []skippedKey, err error) {
	if n-c.next > MaxJump {
		return at, nil, fmt.Errorf("%w: by %d messages", ErrTooFar, n-c.next)
	}
	at = c.key
	for i := c.next; i < n; i++ {
		if n-i <= MaxSkip {
			passed = append(passed, skippedKey{number: i, key: kdfMessage(at)})
		}
		at = kdfChain(at)
	}
	return at, passed, nil
}

// keep adds the keys that walk passed on the way to n.
func (c *chain) keep(n uint32, passed []skippedKey) {
	if n-c.next > MaxSkip {
		c.floor = n - MaxSkip
		// Whatever was kept before is older than MaxSkip keys, so it goes.
		eraseKeys(c.skipped)
		c.skipped = nil
	}
	c.skipped = append(c.skipped, passed...)
	c.next = n
}

// close ends the chain: no message beyond next will come.
func (c *chain) close() {
	c.key.Erase()
	c.closed = true
}

// take removes the skipped key at place i.
func (c *chain) take(i int) {
	c.skipped[i].key.Erase()
	c.skipped = slices.Delete(c.skipped, i, i+1)
}

// drop removes the n oldest skipped keys.
func (c *chain) drop(n int) {
	if n == 0 {
		return
	}
	c.floor = c.skipped[n-1].number + 1
	eraseKeys(c.skipped[:n])
	c.skipped = slices.Delete(c.skipped, 0, n)
}

func (c *chain) erase() {
	c.header.Erase()
	c.key.Erase()
	eraseKeys(c.skipped)
}

func eraseKeys(keys []skippedKey) {
	for i := range keys {
		keys[i].key.Erase()
	}
}

// current returns the newest receiving chain, or nil before the first message.
func (s *Session) current() *chain {
	if len(s.chains) == 0 {
		return nil
	}
	return s.chains[len(s.chains)-1]
}

// trim holds MaxReceivingChains and MaxSkip, the oldest first.
func (s *Session) trim() {
	for len(s.chains) > MaxReceivingChains {
		s.chains[0].erase()
		s.chains = slices.Delete(s.chains, 0, 1)
	}
	excess := -MaxSkip
	for _, c := range s.chains {
		excess += len(c.skipped)
	}
	for _, c := range s.chains {
		if excess <= 0 {
			return
		}
		n := min(excess, len(c.skipped))
		c.drop(n)
		excess -= n
	}
}
