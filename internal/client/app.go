// Package client is the core of the messenger: it keeps an account's vault,
// sends and receives through circuits, and tells a user interface what
// changed. It implements spec/client.md.
//
// It is not an interface of its own (internal/api and cmd/sotto are), and holds
// no protocol: first contact and the ratchet are internal/ratchet's, mailboxes
// and requests internal/mailbox's, circuits internal/circuit's.
package client

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"sotto/internal/vault"
)

// ProfileConfig says where a profile lies and how it reaches the network.
type ProfileConfig struct {
	// Dir is the profile's directory; it is made when an account is.
	Dir string
	// NetworkFile is the path of a network.json. It is copied into the vault
	// when an account is made, so later calls may leave it empty.
	NetworkFile string
	// PacketConn opens the socket that links run over; nil is UDP on any port.
	PacketConn func() (net.PacketConn, error)
	// Now and Rand are the clock and the randomness; nil is the system's.
	Now  func() time.Time
	Rand io.Reader
	// Logger gets lines that name no contact, address or mailbox; nil is silence.
	Logger *slog.Logger
	// KDF fixes the cost of the passphrase; zero calibrates it to a second.
	KDF vault.KDFParams
}

// App is one profile directory.
type App struct{}

// OpenProfile looks at the directory and returns its profile, locked or empty.
func OpenProfile(cfg ProfileConfig) (*App, error) { return &App{}, nil }

// State returns what the profile is now.
func (a *App) State() State { return StateEmpty }

// Create makes an account in an empty profile and starts it. The phrase is
// returned this once.
func (a *App) Create(ctx context.Context, name, passphrase string) (phrase string, err error) {
	return "", ErrState
}

// Restore makes the account of a phrase in an empty profile and starts it.
func (a *App) Restore(ctx context.Context, phrase, name, passphrase string) error { return ErrState }

// Unlock opens a locked profile and starts its client.
func (a *App) Unlock(ctx context.Context, passphrase string) error { return ErrState }

// Lock stops the client and forgets the keys.
func (a *App) Lock() {}

// Close locks the profile for good.
func (a *App) Close() error { return nil }

// Client returns the running client, or ErrLocked.
func (a *App) Client() (*Client, error) { return nil, ErrLocked }
