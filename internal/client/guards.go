package client

import (
	"context"
	"errors"
	"sync"

	"sotto/internal/vault"
)

// settingGuards is where the guards are kept.
const settingGuards = "circuit/guards"

// guardStore keeps the guards in the vault.
type guardStore struct{ v *vault.Vault }

// Load implements circuit.GuardStore.
func (g guardStore) Load() (b []byte, err error) {
	err = g.v.View(context.Background(), func(tx *vault.Tx) error {
		b, err = tx.Setting(settingGuards)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		return err
	})
	return b, err
}

// Save implements circuit.GuardStore.
func (g guardStore) Save(b []byte) error {
	return g.v.Update(context.Background(), func(tx *vault.Tx) error { return tx.SetSetting(settingGuards, b) })
}

// notifier passes what happens to paths on to the client, which comes into
// being after the network. What it is told before is lost, but for whether an
// entry node answers.
type notifier struct {
	mu     sync.Mutex
	client *Client
	lack   string // what unreached was told last
}

func (n *notifier) to(c *Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.client = c
	c.noteUnreached(n.lack)
}

func (n *notifier) notify(text string) {
	n.mu.Lock()
	c := n.client
	n.mu.Unlock()
	if c != nil {
		c.hub.publish(Event{Type: EventPath, Text: text})
	}
}

func (n *notifier) unreached(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lack = text
	if n.client != nil {
		n.client.noteUnreached(text)
	}
}
