package client

import (
	"context"
	"sync"
)

// eventBuffer is how far a reader of events may fall behind before it is told
// to load everything again.
const eventBuffer = 256

// hub hands events to all who listen, and waits for none of them.
type hub struct {
	mu     sync.Mutex // guards what follows
	subs   map[*subscriber]struct{}
	closed bool
}

type subscriber struct {
	ch     chan Event
	missed bool
	stop   func() bool
}

func (h *hub) subscribe(ctx context.Context) <-chan Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &subscriber{ch: make(chan Event, eventBuffer)}
	if h.closed || ctx.Err() != nil {
		close(s.ch)
		return s.ch
	}
	if h.subs == nil {
		h.subs = map[*subscriber]struct{}{}
	}
	h.subs[s] = struct{}{}
	s.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[s]; ok {
			delete(h.subs, s)
			close(s.ch)
		}
	})
	return s.ch
}

func (h *hub) publish(events ...Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		for _, e := range events {
			s.offer(e)
		}
	}
}

// offer keeps the last place of the buffer for EventMissed, and sends nothing
// more until the reader has made room.
func (s *subscriber) offer(e Event) {
	if len(s.ch) < cap(s.ch)-1 {
		s.missed = false
		s.ch <- e
		return
	}
	if !s.missed {
		s.missed = true
		s.ch <- Event{Type: EventMissed}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		s.stop()
		close(s.ch)
	}
	h.subs = nil
}

// Events returns what changes from now on, until ctx ends or the client stops;
// then the channel is closed. A reader that falls behind gets EventMissed.
func (c *Client) Events(ctx context.Context) <-chan Event { return c.hub.subscribe(ctx) }
