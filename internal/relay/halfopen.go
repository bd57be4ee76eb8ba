package relay

import (
	"container/list"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// halfOpen holds the channels whose CREATE is not whole yet, oldest first. A
// new one is never refused: when there are too many, the oldest goes. Who fills
// all places and says nothing would otherwise keep everybody out, while an
// honest CREATE is whole a moment after it appears. A link that has its share
// of places makes room itself (spec/circuit.md §4.1).
type halfOpen struct {
	max   int
	gauge prometheus.Gauge

	mu      sync.Mutex // guards waiting
	waiting list.List  // of *place
}

// place is a channel among the half-open ones.
type place struct {
	ch   channel
	from *neighbour
}

// start gives ch, a channel of the neighbour's link, a place.
func (h *halfOpen) start(ch channel, from *neighbour) *list.Element {
	h.mu.Lock()
	defer h.mu.Unlock()
	if oldest := h.crowdedLocked(from); oldest != nil {
		h.waiting.Remove(oldest).(*place).ch.Abort(link.Code(onion.ReasonLimit))
		h.gauge.Dec()
	}
	h.gauge.Inc()
	return h.waiting.PushBack(&place{ch, from})
}

// crowdedLocked returns who has to go before another of the neighbour's comes.
func (h *halfOpen) crowdedLocked(from *neighbour) *list.Element {
	var first *list.Element
	share := 0
	for e := h.waiting.Front(); e != nil; e = e.Next() {
		if e.Value.(*place).from != from {
			continue
		}
		if first == nil {
			first = e
		}
		if share++; share >= from.maxHalfOpen {
			return first
		}
	}
	if h.waiting.Len() >= h.max {
		return h.waiting.Front()
	}
	return nil
}

// end gives a place back, unless it was taken away.
func (h *halfOpen) end(place *list.Element) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.waiting.Len()
	h.waiting.Remove(place)
	h.gauge.Sub(float64(before - h.waiting.Len()))
}

func (h *halfOpen) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting.Len()
}
