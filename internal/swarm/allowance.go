package swarm

import (
	"sync"
	"time"
)

// allowance ends work for which a peer is needed when that brings too little: it
// lasts for a while from the last moment at which all that came had come at
// leastRate. So who brings a little now and then does not keep others waiting.
type allowance struct {
	whole time.Duration
	timer *time.Timer

	// mu guards until.
	mu    sync.Mutex
	until time.Time
}

// newAllowance calls end when it is exhausted, unless stopped before.
func newAllowance(whole time.Duration, end func()) *allowance {
	return &allowance{whole: whole, timer: time.AfterFunc(whole, end), until: time.Now().Add(whole)}
}

// brought notes a record that came and was stored.
func (a *allowance) brought(bytes int) {
	a.extend(recordTime + time.Duration(bytes)*time.Second/leastRate)
}

// extend makes it last longer, but never for longer from now than the whole.
func (a *allowance) extend(by time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if !now.Before(a.until) {
		return // it is exhausted
	}
	a.until = a.until.Add(by)
	if most := now.Add(a.whole); a.until.After(most) {
		a.until = most
	}
	a.timer.Reset(a.until.Sub(now))
}

func (a *allowance) stop() { a.timer.Stop() }
