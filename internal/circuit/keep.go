package circuit

import (
	"math/rand/v2"
	"time"
)

// keep probes the circuit every minute or two until it is dead, used or not:
// relays end a circuit on which nothing moves (spec/circuit.md §4.10), and one
// that is broken somewhere is found before it is needed.
func (c *circuit) keep() {
	timer := time.NewTimer(keepPause())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.done:
			return
		}
		c.mu.Lock()
		c.probeLocked()
		c.mu.Unlock()
		timer.Reset(keepPause())
	}
}

// keepPause is random, so that the circuits of a client are not probed together.
func keepPause() time.Duration { return keepMin + rand.N(keepMax-keepMin) }
