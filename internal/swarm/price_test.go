package swarm

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/mailbox"
)

// priced is a price whose circumstances a test sets.
type priced struct {
	price
	taken          float64
	entered, stood uint64
	now            time.Time
}

func newPriced() *priced {
	p := &priced{now: time.Unix(1_800_000_000, 0)}
	p.price = price{
		least: mailbox.DefaultWorkBits,
		full:  func() float64 { return p.taken },
		load:  func() (uint64, uint64) { return p.entered, p.stood },
	}
	return p
}

func (p *priced) step() uint8 {
	p.now = p.now.Add(mailbox.QuoteStep)
	return p.at(p.now)
}

func (p *priced) quote(bits uint8) mailbox.WorkQuote {
	step := uint64(mailbox.QuoteStep / time.Second)
	return mailbox.WorkQuote{Bits: bits, Issued: uint64(p.now.Unix()) / step * step}
}

// A full store and a flood raise the price, calm lowers it, both slowly, and it
// never leaves its bounds.
func TestPriceFollowsLoad(t *testing.T) {
	const least = mailbox.DefaultWorkBits
	for name, burden := range map[string]func(*priced){
		"a full store": func(p *priced) { p.taken = 1 },
		"a flood":      func(p *priced) { p.entered, p.stood = p.entered+10*priceSample, p.stood+10*priceSample },
	} {
		p := newPriced()
		last := p.step()
		if last != least {
			t.Errorf("%s: an empty and idle member asks for %d bits", name, last)
		}
		for range 2 * priceRange {
			burden(p)
			now := p.step()
			if now < last || now > last+priceUp || now == last && now != least+priceRange {
				t.Errorf("%s: from %d to %d bits", name, last, now)
			}
			last = now
		}
		if last != least+priceRange || last > mailbox.MaxWorkBits {
			t.Errorf("%s: %d bits at last", name, last)
		}
		for p.taken = 0; last > least; {
			now := p.step()
			if now != last-1 {
				t.Fatalf("%s: then from %d to %d bits", name, last, now)
			}
			last = now
		}
		if now := p.step(); now != least {
			t.Errorf("%s: below the least, %d bits", name, now)
		}
	}
}

func TestScarcity(t *testing.T) {
	for taken, want := range map[float64]uint8{
		-1: 0, 0: 0, 0.4: 0, 0.5: 1, 0.7: 1, 0.75: 2, 0.9: 3, 0.99: 6, 1: priceRange, 2: priceRange,
	} {
		if got := scarcity(taken); got != want {
			t.Errorf("%v taken: %d, want %d", taken, got, want)
		}
	}
}

// Few requests say nothing, however they fared.
func TestPriceNeedsASample(t *testing.T) {
	p := newPriced()
	p.step()
	p.entered, p.stood = priceSample-1, priceSample-1
	if got := p.step(); got != mailbox.DefaultWorkBits {
		t.Errorf("%d bits", got)
	}
}

// Within a step everybody gets the same price, also when the clock goes back.
// What was quoted counts after the price has risen, and less than that does not.
func TestPriceHoldsForItsQuotes(t *testing.T) {
	p := newPriced()
	before := p.step()
	quoted := p.quote(before)
	p.taken = 1
	if got := p.at(p.now); got != before {
		t.Errorf("within a step from %d to %d bits", before, got)
	}
	dear := p.step()
	if dear <= before {
		t.Fatalf("%d bits of a full store", dear)
	}
	if got := p.at(p.now.Add(-mailbox.QuoteStep)); got != dear {
		t.Errorf("with the clock set back %d bits", got)
	}
	if need := p.demands(quoted, p.now); quoted.Bits < need {
		t.Errorf("a quote of %d bits that was right is refused below %d", quoted.Bits, need)
	}
	for range priceRange {
		dear = p.step()
	}
	if need := p.demands(p.quote(dear), p.now); need != dear-priceSlack {
		t.Errorf("at %d bits %d are accepted", dear, need)
	}
	if need := p.demands(mailbox.WorkQuote{Issued: ^uint64(0)}, p.now); need != dear-priceSlack {
		t.Errorf("of a quote from the end of time %d bits are accepted", need)
	}
	if need := p.demands(quoted, p.now); need != mailbox.DefaultWorkBits {
		t.Errorf("of a forgotten step %d bits are demanded", need)
	}
}

// dear makes members ask for much from their first quote on.
func dear(nodes ...*node) {
	for _, n := range nodes {
		n.swarm.price.full = func() float64 { return 1 } // before anybody asked
	}
}

// Two members who sell cheap can open nothing at their price, and two who ask
// for much can keep nobody from opening at the price of the others.
func TestFewMembersDoNotMakeThePrice(t *testing.T) {
	w := newWorld(t, 5)
	dear(w.nodes[2:]...)
	cheap, b := w.client(w.nodes[0]), newBox(w)
	if _, err := cheap.do(cheap.openRequest(b.Locator, 1<<20, 18), nil); !errors.Is(err, mailbox.ErrUnavailable) {
		t.Errorf("at the price of two of five: %v", err)
	}
	w = newWorld(t, 5)
	dear(w.nodes[3:]...)
	usual := w.client(w.nodes[0])
	usual.open(newBox(w), 1<<20)
}
