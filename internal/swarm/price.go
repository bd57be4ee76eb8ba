package swarm

import (
	"math/bits"
	"sync"
	"time"

	"sotto/internal/mailbox"
)

// price is what this member demands for work, in bits. It follows how full its
// store is and how busy it was, and moves only from one step of quotes to the
// next, so that all who ask within a step get equal bytes (spec/mailbox.md §5.4).
type price struct {
	least uint8                          // of an idle and empty member
	full  func() float64                 // the share of the store that is taken
	load  func() (asked, delayed uint64) // requests since the start, and those that found no place

	// mu guards what follows.
	mu      sync.Mutex
	known   []stepPrice // of the last steps, the present one last
	asked   uint64      // as of the beginning of the present step
	delayed uint64
}

// stepPrice is the price of one step.
type stepPrice struct {
	step uint64
	bits uint8
}

// stepOf returns the step of quotes that a time lies in.
func stepOf(now time.Time) uint64 {
	return uint64(max(now.Unix(), 0)) / uint64(mailbox.QuoteStep/time.Second)
}

// at returns the price at a moment.
func (p *price) at(now time.Time) uint8 {
	step := stepOf(now)
	if bits, ok := p.of(step); ok {
		return bits
	}
	full := p.full()
	asked, delayed := p.load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.known); n > 0 && step <= p.known[n-1].step {
		return p.known[n-1].bits // somebody was faster
	}
	bits := p.next(step, full, asked, delayed)
	p.known = append(p.known, stepPrice{step, bits})
	if len(p.known) > priceSteps {
		p.known = p.known[1:]
	}
	return bits
}

// of returns the price of a step that has begun, also when the clock was set back.
func (p *price) of(step uint64) (uint8, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.known)
	if n == 0 || step > p.known[n-1].step {
		return 0, false
	}
	return p.known[n-1].bits, true
}

// next moves the price towards what the store and the last step say: up by
// priceUp at most, and down by one bit for each step that has passed.
func (p *price) next(step uint64, full float64, asked, delayed uint64) uint8 {
	busy := 0.0
	if n := asked - p.asked; n >= priceSample {
		busy = float64(delayed-p.delayed) / float64(n)
	}
	p.asked, p.delayed = asked, delayed
	want := p.least + min(scarcity(full)+scarcity(busy), priceRange)
	if len(p.known) == 0 {
		return want
	}
	last := p.known[len(p.known)-1]
	if want > last.bits {
		return min(want, last.bits+priceUp)
	}
	passed := min(step-last.step, priceRange)
	return max(want, last.bits-min(uint8(passed), last.bits))
}

// scarcity is how often what is left of something must be doubled to be all of
// it: each halving of the room makes work twice as dear.
func scarcity(taken float64) uint8 {
	left := min(max(1-taken, 0), 1)
	return uint8(bits.Len64(uint64(1/max(left, 1.0/(1<<priceRange)))) - 1)
}

// demands returns the least price that this member accepts for work on a quote:
// a little less than its own when the quote was issued, since others may have
// been less busy; and for one that is older than what it remembers the least
// there is.
func (p *price) demands(q mailbox.WorkQuote, now time.Time) uint8 {
	p.at(now)
	step := stepOf(time.Unix(int64(min(q.Issued, 1<<62)), 0))
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.known) - 1; i >= 0; i-- {
		if known := p.known[i]; known.step <= step {
			return max(p.least, known.bits-min(priceSlack, known.bits))
		}
	}
	return p.least
}

// workOf returns the quote that a request's work was done for.
func workOf(req mailbox.Request) (q mailbox.WorkQuote, ok bool) {
	switch r := req.(type) {
	case *mailbox.Open:
		return r.Work.Quote, true
	case *mailbox.Put:
		if r.Work != nil {
			return r.Work.Quote, true
		}
	}
	return q, false
}

// demands returns the least price for a request that comes from a client or its
// coordinator; later copies need no more than WorkBits.
func (s *Swarm) demands(req mailbox.Request) uint8 {
	if q, ok := workOf(req); ok {
		return s.price.demands(q, s.cfg.Now())
	}
	return s.cfg.WorkBits
}

// paid refuses work for less than this member demands from what a coordinator
// passes on, so that a few members who sell cheap make no majority.
func (s *Swarm) paid(req mailbox.Request) error {
	if q, ok := workOf(req); ok && q.Bits < s.price.demands(q, s.cfg.Now()) {
		return mailbox.ErrBadWork
	}
	return nil
}
