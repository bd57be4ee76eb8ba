package circuit

import (
	"slices"
	"time"
)

// Slow circuits (spec/circuit.md §5.9).
const (
	// paceSample is how many round trips of finished circuits are remembered,
	// and paceLeast how many are needed to judge one.
	paceSample = 32
	paceLeast  = 12
	// paceFactor is how many times the median is slow.
	paceFactor = 2
	// paceFloor is how much above the median a round trip must be: below it
	// nobody feels the difference, and the noise of one machine would decide.
	paceFloor = 100 * time.Millisecond
	// paceShare is how many of the sample may be slow, one in so many. When more
	// are, that is how the network is, and none is dropped.
	paceShare = 4
)

// pace is the round trips of the circuits that were finished last, those
// included that were dropped: a sample of the survivors would creep toward the
// fastest. Its owner locks.
type pace struct {
	trips []time.Duration
	next  int
}

// add remembers a round trip in place of the oldest.
func (p *pace) add(rtt time.Duration) {
	if len(p.trips) < paceSample {
		p.trips = append(p.trips, rtt)
		return
	}
	p.trips[p.next] = rtt
	p.next = (p.next + 1) % paceSample
}

// slow reports whether a circuit of this round trip is to be dropped.
func (p *pace) slow(rtt time.Duration) bool {
	if len(p.trips) < paceLeast {
		return false
	}
	sorted := slices.Sorted(slices.Values(p.trips))
	median := sorted[len(sorted)/2]
	bound := max(paceFactor*median, median+paceFloor)
	above := 0
	for _, t := range sorted {
		if t > bound {
			above++
		}
	}
	return rtt > bound && above*paceShare <= len(sorted)
}
