package onion

import (
	"cmp"
	"time"
)

// The parameters of congestion control (spec/circuit.md §4.5). What is in cells
// is in units of a step, 37 KB, as Tor's are in units of a relay's output
// buffer, 32 KB.
const (
	// vegasAlpha is the queue, in cells, below which the window grows.
	vegasAlpha = 2 * CircuitStep
	// vegasBeta is the queue above which the window shrinks.
	vegasBeta = 4 * CircuitStep
	// vegasGamma is the queue that ends slow start.
	vegasGamma = 3 * CircuitStep
	// vegasDelta is the queue above which the window is cut at once.
	vegasDelta = 6 * CircuitStep
	// fullGap is how far below the window the cells in flight may be for it to
	// count as full: less than a step is always on its way.
	fullGap = CircuitStep
	// ewmaMin and ewmaMax bound over how many SENDMEs round trips are smoothed.
	ewmaMin, ewmaMax = 2, 10
	// jump is the ratio of round trips beyond which the clock is at fault.
	jump = 5000
	// longest is a round trip that none lasts, whatever came before: circuits
	// are dead after seconds of silence.
	longest = time.Hour
	// recheckAfter is how long the shortest round trip holds the window back
	// before it is measured again: often enough for a path that became longer,
	// seldom enough that the round trip spent on it is not missed.
	recheckAfter = 30 * time.Second
)

// congestion decides how large a window is: TOR_VEGAS of Tor's proposal 324,
// with the differences of docs/decisions/0011-congestion-control.md. The zero
// value is ready. It has no clock of its own.
type congestion struct {
	grown   int           // cells beyond StartWindow
	ewma    time.Duration // smoothed round trip; 0: none was measured
	minimum time.Duration // the shortest smoothed round trip
	seen    time.Time     // when minimum was last measured
	steady  bool          // slow start is over
	limit   int           // where slow start ends; 0: MaxWindow
	stalled bool          // the clock stood still
	full    int           // SENDMEs for which the window counts as full
	next    int           // SENDMEs until the next change, in steady state
	recheck recheck
}

// recheck is a new measurement of the shortest round trip, for which the window
// is at its floor.
type recheck struct {
	since time.Time     // zero: none is under way
	held  int           // the window before
	ewma  time.Duration // the smoothed round trip before
}

func (c *congestion) window() int { return StartWindow + c.grown }

func (c *congestion) set(window int) {
	c.grown = min(max(window, MinWindow), MaxWindow) - StartWindow
}

// acknowledged takes the SENDME for a cell, while inFlight cells are counted.
func (c *congestion) acknowledged(sent, now time.Time, inFlight int) {
	if c.next > 0 {
		c.next--
	}
	rtt := now.Sub(sent)
	if !c.plausible(rtt) {
		return
	}
	if !c.recheck.since.IsZero() {
		c.finishRecheck(rtt, sent, now)
		return
	}
	c.measure(rtt, now)
	// cwnd · RTTmin / RTTewma is what the path itself holds.
	bdp := int(int64(c.window()) * int64(c.minimum) / int64(c.ewma))
	queue := c.window() - bdp
	c.use(inFlight)
	switch {
	case !c.steady:
		c.slowStart(bdp, queue)
	case c.heldBack(queue) && now.Sub(c.seen) >= recheckAfter:
		c.startRecheck(now)
	case c.next == 0:
		c.adjust(bdp, queue)
	}
}

// plausible reports whether the clock can be believed.
func (c *congestion) plausible(rtt time.Duration) bool {
	if rtt <= 0 {
		c.stalled = true
		return false
	}
	if rtt > longest || c.steady && (rtt/jump > c.ewma || c.stalled && rtt < c.ewma/jump) {
		return false
	}
	c.stalled = false
	return true
}

// measure smooths the round trip over half of the SENDMEs of a window.
func (c *congestion) measure(rtt time.Duration, now time.Time) {
	n := ewmaMin
	if c.steady {
		n = min(max(c.perWindow()/2, ewmaMin), ewmaMax)
	}
	if c.ewma == 0 {
		c.ewma = rtt
	} else {
		c.ewma = (2*rtt + time.Duration(n-1)*c.ewma) / time.Duration(n+1)
	}
	if c.minimum == 0 || c.ewma <= c.minimum {
		c.minimum, c.seen = c.ewma, now
	}
}

// use notes whether the window is full. It then counts as full until a window
// is acknowledged: SENDMEs that arrive together are taken before the next cells
// leave. A window that is not used does not grow.
func (c *congestion) use(inFlight int) {
	if inFlight+fullGap >= c.window() {
		c.full = c.perWindow()
	} else if c.full > 0 {
		c.full--
	}
}

// perWindow returns how many SENDMEs acknowledge a window.
func (c *congestion) perWindow() int { return (c.window() + CircuitStep/2) / CircuitStep }

// slowStart doubles the window with each round trip until a queue builds up.
func (c *congestion) slowStart(bdp, queue int) {
	if queue >= vegasGamma {
		c.leaveSlowStart(bdp + vegasGamma)
		return
	}
	if c.full > 0 {
		c.set(c.window() + CircuitStep)
	}
	if limit := cmp.Or(c.limit, MaxWindow); c.window() >= limit {
		c.leaveSlowStart(limit)
	}
}

func (c *congestion) leaveSlowStart(window int) {
	c.steady = true
	c.set(window)
	c.next = c.perWindow()
}

// adjust changes the window once in a window, so that the change shows in what
// is measured before the next.
func (c *congestion) adjust(bdp, queue int) {
	switch {
	case queue > vegasDelta:
		c.set(bdp + vegasDelta - CircuitStep)
	case queue > vegasBeta:
		c.set(c.window() - CircuitStep)
	case c.full > 0 && queue < vegasAlpha:
		c.set(c.window() + CircuitStep)
	}
	c.next = c.perWindow()
}

// heldBack reports whether the window would grow if there were no queue.
func (c *congestion) heldBack(queue int) bool {
	return c.full > 0 && queue >= vegasAlpha && c.window() < MaxWindow
}

// startRecheck sends little for a round trip, so that our own queue is gone
// when the next step's is measured.
func (c *congestion) startRecheck(now time.Time) {
	c.recheck = recheck{since: now, held: c.window(), ewma: c.ewma}
	c.set(MinWindow)
}

// finishRecheck takes the first step that was sent with the floor as window,
// and starts slowly again, as far as the window was before. If the round trip
// is hardly shorter than those before, the delay is not of our making: the path
// has become longer, and what it holds is unknown.
func (c *congestion) finishRecheck(rtt time.Duration, sent, now time.Time) {
	if !sent.After(c.recheck.since) {
		return
	}
	c.limit = c.recheck.held
	if rtt > c.recheck.ewma/8*7 {
		c.minimum, c.limit = rtt, MaxWindow
	}
	c.minimum = min(c.minimum, rtt)
	c.ewma, c.seen = rtt, now
	c.steady, c.recheck = false, recheck{}
}
