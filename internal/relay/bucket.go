package relay

import "time"

// bucket bounds how often something is done on one link: rate times a second
// in the long run, and burst at once. What comes sooner may wait its turn, so
// that a client in a hurry is slowed down and not turned away; what would wait
// longer than maxTurn is refused (spec/circuit.md §4.1). It belongs to the
// goroutine that accepts the link's channels.
type bucket struct {
	rate, burst float64
	tokens      float64 // below zero: so many wait
	filled      time.Time
}

// maxTurn is how long something waits for its turn.
const maxTurn = time.Second

func newBucket(rate, burst int, now time.Time) bucket {
	return bucket{rate: float64(rate), burst: float64(burst), tokens: float64(burst), filled: now}
}

// take takes a token. It returns how long to wait for it, or false without one.
func (b *bucket) take(now time.Time) (wait time.Duration, ok bool) {
	b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens-1 < -b.rate*maxTurn.Seconds() {
		return 0, false
	}
	b.tokens--
	return time.Duration(max(0, -b.tokens) / b.rate * float64(time.Second)), true
}

// even reports whether nothing waits.
func (b *bucket) even() bool { return b.tokens >= 0 }
