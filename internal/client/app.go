// Package client is the core of the messenger: it keeps an account's vault,
// sends and receives through circuits, and tells a user interface what
// changed. It implements spec/client.md.
//
// It is not an interface of its own (internal/api and cmd/sotto are), and holds
// no protocol: first contact and the ratchet are internal/ratchet's, mailboxes
// and requests internal/mailbox's, circuits internal/circuit's.
//
// A message's way out: Send (send.go) → introduce (contact.go) at the first
// contact → outboxLoop (outbox.go) → put (swarm.go) → ask (member.go). And in:
// watch (subscribe.go) or drain (drain.go) → apply (receive.go, first.go) →
// Events.
package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/vault"
)

// ProfileConfig says where a profile lies and how it reaches the network.
type ProfileConfig struct {
	// Dir is the profile's directory; it is made when an account is.
	Dir string
	// NetworkFile is the path of a network.json, Network one already read. It is
	// copied into the vault when an account is made, so later calls may leave
	// both empty; given again, it replaces the copy.
	NetworkFile string
	Network     *directory.Network
	// PacketConn opens the one socket that links run over; nil is UDP on sockets
	// that follow the computer from one network to the next.
	PacketConn func() (net.PacketConn, error)
	// Connect makes the way to the network; nil is circuits over PacketConn.
	Connect func(NetworkConfig) (Network, error)
	// Now and Rand are the clock and the randomness; nil is the system's.
	Now  func() time.Time
	Rand io.Reader
	// Logger gets lines that name no contact, address or mailbox; nil is silence.
	Logger *slog.Logger
	// KDF fixes the cost of the passphrase; zero calibrates it to a second.
	KDF vault.KDFParams

	timing *timing                 // tests shorten it
	fault  func(vault.Point) error // tests let the process die
}

// App is one profile directory. Its methods may be called from several
// goroutines; those that change the state do so one after the other.
type App struct {
	cfg ProfileConfig

	work sync.Mutex // held by whoever changes the state

	mu     sync.Mutex // guards what follows
	vault  *vault.Vault
	net    Network
	client *Client
	closed bool
}

// OpenProfile looks at the directory and returns its profile, locked or empty.
func OpenProfile(cfg ProfileConfig) (*App, error) {
	if cfg.Dir == "" {
		return nil, errors.New("client: a profile needs a directory")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	} else {
		cfg.Rand = &lockedReader{r: cfg.Rand}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.timing == nil {
		t := usualTiming()
		cfg.timing = &t
	}
	return &App{cfg: cfg}, nil
}

// State returns what the profile is now.
func (a *App) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.client != nil:
		return StateReady
	case vault.Exists(a.cfg.Dir):
		return StateLocked
	}
	return StateEmpty
}

// Create makes an account in an empty profile and starts it. The phrase is
// returned this once. The name may be empty.
func (a *App) Create(ctx context.Context, name, passphrase string) (phrase string, err error) {
	seed, err := identity.NewSeed(a.cfg.Rand)
	if err != nil {
		return "", err
	}
	defer seed.Erase()
	if err := a.make(ctx, seed, name, passphrase, false); err != nil {
		return "", err
	}
	return seed.Phrase(), nil
}

// Restore makes the account of a phrase in an empty profile and starts it.
func (a *App) Restore(ctx context.Context, phrase, name, passphrase string) error {
	seed, err := identity.SeedFromPhrase(phrase)
	if err != nil {
		return err
	}
	defer seed.Erase()
	return a.make(ctx, seed, name, passphrase, true)
}

func (a *App) make(ctx context.Context, seed identity.Seed, name, passphrase string, restored bool) error {
	a.work.Lock()
	defer a.work.Unlock()
	if a.State() != StateEmpty || a.isClosed() {
		return ErrState
	}
	if name != "" {
		var err error
		if name, err = cleanName(name); err != nil {
			return err
		}
	}
	if utf8.RuneCountInString(passphrase) < minPassphrase {
		return ErrPassphrase
	}
	network, dir, err := a.givenNetwork()
	if err != nil {
		return err
	}
	if dir == nil {
		return ErrNoNetwork
	}
	account := vault.Account{Name: name, Seed: seed.Bytes(), Network: network}
	defer clear(account.Seed)
	if _, err := io.ReadFull(a.cfg.Rand, account.Device[:]); err != nil {
		return err
	}
	v, err := vault.Create(ctx, a.options(), []byte(passphrase), func(tx *vault.Tx) error {
		if restored {
			if err := tx.SetNumber(settingRestored, 1); err != nil {
				return err
			}
		}
		return tx.SetAccount(account)
	})
	if err != nil {
		return err
	}
	if err := a.begin(ctx, v, directory.NewLive(dir, a.cfg.Now)); err != nil {
		// Nobody has seen the phrase, so the account must not stay.
		return errors.Join(err, vault.Destroy(a.cfg.Dir))
	}
	return nil
}

// Unlock opens a locked profile and starts its client. The errors of
// vault.Open tell a wrong passphrase from a damaged file and from a second
// process.
func (a *App) Unlock(ctx context.Context, passphrase string) error {
	a.work.Lock()
	defer a.work.Unlock()
	if a.State() != StateLocked || a.isClosed() {
		return ErrState
	}
	v, err := vault.Open(ctx, a.options(), []byte(passphrase))
	if err != nil {
		return err
	}
	dir, err := a.network(ctx, v)
	if err != nil {
		v.Close()
		return err
	}
	return a.begin(ctx, v, dir)
}

func (a *App) options() vault.Options {
	return vault.Options{Dir: a.cfg.Dir, Rand: a.cfg.Rand, KDF: a.cfg.KDF, Fault: a.cfg.fault}
}

// begin starts the client of an open vault, which it closes if that fails.
func (a *App) begin(ctx context.Context, v *vault.Vault, dir *directory.Live) (err error) {
	var network Network
	defer func() {
		if err != nil {
			if network != nil {
				network.Close()
			}
			v.Close()
		}
	}()
	connect := a.cfg.Connect
	if connect == nil {
		connect = a.connectCircuits
	}
	notify := &notifier{}
	network, err = connect(NetworkConfig{Directory: dir, Guards: guardStore{v}, Notify: notify.notify, Unreached: notify.unreached})
	if err != nil {
		return err
	}
	c, err := newClient(ctx, clientConfig{
		vault: v, dir: dir, net: network, now: a.cfg.Now, rand: a.cfg.Rand, log: a.cfg.Logger, timing: *a.cfg.timing,
	})
	if err != nil {
		return err
	}
	notify.to(c)
	a.mu.Lock()
	a.vault, a.net, a.client = v, network, c
	a.mu.Unlock()
	c.start()
	return nil
}

// Lock stops the client and forgets the keys.
func (a *App) Lock() {
	a.work.Lock()
	defer a.work.Unlock()
	_ = a.lock()
}

func (a *App) lock() error {
	a.mu.Lock()
	c, n, v := a.client, a.net, a.vault
	a.client, a.net, a.vault = nil, nil, nil
	a.mu.Unlock()
	if c == nil {
		return nil
	}
	c.stop()
	return errors.Join(n.Close(), v.Close())
}

// Close locks the profile for good.
func (a *App) Close() error {
	a.work.Lock()
	defer a.work.Unlock()
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	return a.lock()
}

func (a *App) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// Client returns the running client, or ErrLocked.
func (a *App) Client() (*Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client == nil {
		return nil, ErrLocked
	}
	return a.client, nil
}
