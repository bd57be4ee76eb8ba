package apitest

import (
	"context"

	"sotto/internal/client"
	"sotto/internal/padding"
)

// Cover implements api.Client.
func (c *Client) Cover(context.Context) (padding.Level, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.cover, nil
}

// SetCover implements api.Client.
func (c *Client) SetCover(_ context.Context, name string) error {
	level, ok := padding.ParseLevel(name)
	if !ok {
		return client.ErrCover
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.cover = level
	return nil
}

// Chatting implements api.Client.
func (c *Client) Chatting() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.chatted++
}

// Chatted returns how often Chatting was called.
func (c *Client) Chatted() int {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.chatted
}
