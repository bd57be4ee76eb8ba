package relay

import (
	"container/list"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// halfOpen holds the channels whose CREATE is not answered yet, oldest first. A
// new one is never refused: when there are too many, the oldest goes. Who fills
// all places and says nothing would otherwise keep everybody out, while an
// honest CREATE is answered a moment after it appears (spec/circuit.md §4.1).
type halfOpen struct {
	max   int
	gauge prometheus.Gauge

	mu      sync.Mutex // guards waiting
	waiting list.List  // of channel
}

// start gives ch a place.
func (h *halfOpen) start(ch channel) *list.Element {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting.Len() >= h.max {
		oldest := h.waiting.Front()
		h.waiting.Remove(oldest).(channel).Abort(link.Code(onion.ReasonLimit))
		h.gauge.Dec()
	}
	h.gauge.Inc()
	return h.waiting.PushBack(ch)
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
