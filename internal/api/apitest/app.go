// Package apitest is a second implementation of api.App that lives in memory:
// accounts that reach each other through a Net in the same process, without
// circuits or keys. Tests of the API and of the web app run on it. It is no
// messenger and belongs in no program.
package apitest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"sotto/internal/api"
	"sotto/internal/client"
	"sotto/internal/identity"
	"sotto/internal/vault"
)

// Net joins accounts by their IDs.
type Net struct {
	mu       sync.Mutex
	accounts map[string]*Client
	clock    func() time.Time
	made     int
}

// NewNet returns a Net without accounts. Times come from clock.
func NewNet(clock func() time.Time) *Net {
	return &Net{accounts: map[string]*Client{}, clock: clock}
}

// SetClock changes where times come from.
func (n *Net) SetClock(clock func() time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clock = clock
}

// App is a profile on the Net.
type App struct {
	net *Net

	mu         sync.Mutex
	state      client.State // guarded by mu, as is all below
	client     *Client
	passphrase string
	// Slow is how long making and unlocking an account takes.
	Slow time.Duration
}

// App returns a new, empty profile.
func (n *Net) App() *App { return &App{net: n, state: client.StateEmpty} }

// State implements api.App.
func (a *App) State() client.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Create implements api.App.
func (a *App) Create(ctx context.Context, name, passphrase string) (string, error) {
	a.net.mu.Lock()
	a.net.made++
	digest := sha256.Sum256([]byte{byte(a.net.made)})
	a.net.mu.Unlock()
	seed, err := identity.NewSeed(bytes.NewReader(digest[:]))
	if err != nil {
		return "", err
	}
	return seed.Phrase(), a.begin(ctx, seed, name, passphrase)
}

// Restore implements api.App.
func (a *App) Restore(ctx context.Context, phrase, name, passphrase string) error {
	seed, err := identity.SeedFromPhrase(phrase)
	if err != nil {
		return err
	}
	return a.begin(ctx, seed, name, passphrase)
}

func (a *App) begin(ctx context.Context, seed identity.Seed, name, passphrase string) error {
	if len(passphrase) < 8 {
		return client.ErrPassphrase
	}
	if err := a.wait(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != client.StateEmpty {
		return client.ErrState
	}
	id := seed.Persona(0).ID().String()
	a.client = &Client{net: a.net, id: id, name: name, chats: map[string]*chat{}}
	a.net.mu.Lock()
	a.net.accounts[id] = a.client
	a.net.mu.Unlock()
	a.passphrase, a.state = passphrase, client.StateReady
	return nil
}

// Unlock implements api.App.
func (a *App) Unlock(ctx context.Context, passphrase string) error {
	if err := a.wait(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.state != client.StateLocked:
		return client.ErrState
	case passphrase != a.passphrase:
		return vault.ErrPassphrase
	}
	a.state = client.StateReady
	return nil
}

func (a *App) wait(ctx context.Context) error {
	if a.Slow == 0 {
		return nil
	}
	t := time.NewTimer(a.Slow)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Lock implements api.App.
func (a *App) Lock() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != client.StateReady {
		return
	}
	a.state = client.StateLocked
	a.client.closeEvents()
}

// Client implements api.App.
func (a *App) Client() (api.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != client.StateReady {
		return nil, client.ErrLocked
	}
	return a.client, nil
}
