package padding

import "time"

// burstGap is the longest silence within a burst: what one message takes is
// queued within moments.
const burstGap = 250 * time.Millisecond

// Burst notices real traffic that stands in for the next dummy
// (spec/padding.md §5.3). The zero value is ready. It is not safe for
// concurrent use.
type Burst struct {
	last  time.Time
	cells int
	large bool
}

// Sent counts cells that were sent at a moment; size is the train's length.
func (b *Burst) Sent(now time.Time, cells, size int) {
	if now.Sub(b.last) > burstGap {
		b.cells = 0
	}
	b.last = now
	b.cells += cells
	b.large = b.large || b.cells >= size
}

// Take reports whether a burst of a train's size was sent since the last call.
func (b *Burst) Take() bool {
	was := b.large
	b.large, b.cells = false, 0
	return was
}
