package padding

import (
	"fmt"
	"time"
)

// Level is how much cover traffic a person wants (spec/padding.md §3).
type Level uint8

// The levels. Standard is the zero value and what a new account has.
const (
	Standard Level = iota
	Low
	Active
	High
)

// Levels lists all levels, the cheapest first.
var Levels = []Level{Low, Standard, Active, High}

// The mean times between two trains of one direction over a link.
const (
	standardMean = 5 * time.Minute
	activeMean   = 20 * time.Second
	highMean     = 5 * time.Second
)

// ChatTime is how long Active keeps its higher rate after a conversation was
// last in use: people answer within minutes, and a rate that fell in every
// pause would show the pauses.
const ChatTime = 10 * time.Minute

// String returns the level's name, as settings and commands have it.
func (l Level) String() string {
	switch l {
	case Low:
		return "low"
	case Standard:
		return "standard"
	case Active:
		return "active"
	case High:
		return "high"
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// ParseLevel reads a level's name.
func ParseLevel(name string) (Level, bool) {
	for _, l := range Levels {
		if name == l.String() {
			return l, true
		}
	}
	return 0, false
}

// Mean returns the mean time between two trains of one direction over a link;
// 0 is never.
func (l Level) Mean(chatting bool) time.Duration {
	switch {
	case l == Standard, l == Active && !chatting:
		return standardMean
	case l == Active:
		return activeMean
	case l == High:
		return highMean
	}
	return 0
}

// Share returns the mean that each of two hops is told on each of n circuits,
// so that all of them together have the mean of the link. n counts as the next
// power of two: a hop is not to learn how many circuits there are.
func Share(mean time.Duration, n int) time.Duration {
	if mean == 0 || n == 0 {
		return 0
	}
	const hops = 2
	pow := 1
	for pow < n {
		pow *= 2
	}
	return mean * time.Duration(hops*pow)
}
