package client

import (
	"context"
	"errors"

	"sotto/internal/padding"
	"sotto/internal/vault"
)

// settingCover is where the level of cover traffic is kept, by its name.
const settingCover = "cover/level"

// ErrCover says that there is no such level of cover traffic.
var ErrCover = errors.New("client: no such level of cover traffic")

// Cover returns the level of cover traffic (spec/padding.md §3).
func (c *Client) Cover(context.Context) (padding.Level, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cover, nil
}

// SetCover changes the level by its name, from now on and for later starts.
func (c *Client) SetCover(ctx context.Context, name string) error {
	level, ok := padding.ParseLevel(name)
	if !ok {
		return ErrCover
	}
	err := c.vault.Update(ctx, func(tx *vault.Tx) error { return tx.SetSetting(settingCover, []byte(name)) })
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.cover = level
	c.mu.Unlock()
	c.net.SetCover(level)
	return nil
}

// Chatting says that a person is at a conversation: the level "active" has its
// higher rate for a while.
func (c *Client) Chatting() { c.net.Chatting() }

// loadCover reads the level at the start. One that a newer version knows is no
// reason to stay silent.
func (c *Client) loadCover(tx *vault.Tx) error {
	name, err := tx.Setting(settingCover)
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	level, ok := padding.ParseLevel(string(name))
	if !ok {
		c.log.Warn("client: unknown level of cover traffic, taking standard")
	}
	c.cover = level
	c.net.SetCover(level)
	return nil
}
