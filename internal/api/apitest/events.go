package apitest

import (
	"context"
	"sync"

	"sotto/internal/client"
)

// maxBehind is how many events a subscriber may be behind.
const maxBehind = 256

// subscriber is one reader of events. Its channel is closed once, either by
// its context or by locking.
type subscriber struct {
	ch   chan client.Event
	once sync.Once
}

func (s *subscriber) close() { s.once.Do(func() { close(s.ch) }) }

// Events implements api.Client.
func (c *Client) Events(ctx context.Context) <-chan client.Event {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	s := &subscriber{ch: make(chan client.Event, maxBehind)}
	c.subscribers = append(c.subscribers, s)
	context.AfterFunc(ctx, func() {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		for i, other := range c.subscribers {
			if other == s {
				c.subscribers = append(c.subscribers[:i:i], c.subscribers[i+1:]...)
				break
			}
		}
		s.close()
	})
	return s.ch
}

// closeEvents ends all subscriptions, as locking does.
func (c *Client) closeEvents() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for _, s := range c.subscribers {
		s.close()
	}
	c.subscribers = nil
}

func (c *Client) emitLocked(e client.Event) {
	for _, s := range c.subscribers {
		select {
		case s.ch <- e:
		default:
			for len(s.ch) > 0 {
				<-s.ch
			}
			s.ch <- client.Event{Type: client.EventMissed}
		}
	}
}
