package client

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/padding"
	"sotto/internal/suite"
	"sotto/internal/vault"
	"sotto/internal/wire"
)

// Client is an account at work. Its goroutines are listed in start; stop waits
// for all of them.
//
// Locks: a transaction of the vault, then Client.mu, then channel.mu or hub.mu.
// None of the mutexes is held over input or output.
type Client struct {
	swarms
	vault   *vault.Vault
	persona *identity.Persona
	number  uint32 // of the persona
	device  identity.DeviceID
	root    suite.VerifyKey
	log     *slog.Logger
	hub     hub
	timing  timing
	unread  atomic.Uint64 // envelopes that could not be read
	salt    []byte        // of moments, the same at every start

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	arrivals     chan arrival
	places       chan struct{} // inboxes that are being read to their end
	kickOutbox   signal
	kickReceipts signal
	kickDelete   signal
	kickDoor     signal // the front door's deletions
	kickPlan     signal
	kickPrepare  signal
	kickContacts signal
	kickCards    signal

	// joining is held from the transaction that makes a conversation until its
	// channel is in channels, for those who met its entries in between.
	joining sync.RWMutex

	mu        sync.Mutex // guards what follows
	name      string
	channels  map[[32]byte]*channel
	blocked   map[[32]byte]bool // people
	periods   map[identity.Period]*ownPeriod
	doorRead  identity.Period
	sending   map[[16]byte]bool // messages that a member has been asked to store
	live      int               // subscriptions that stand
	state     Connection
	fault     error  // why the last attempt to reach the network failed
	unreached string // that no entry node answers, in plain words; else empty
	broken    bool   // the vault is damaged
	forked    bool   // the network's key signed two directories with one serial
	eager     bool   // the network is back: the outbox need not pause
	reminding bool   // Take holds something back
	cover     padding.Level
	changed   chan struct{} // closed and replaced when Flush may have to look again
}

type clientConfig struct {
	vault  *vault.Vault
	dir    *directory.Live
	net    Network
	now    func() time.Time
	rand   io.Reader
	log    *slog.Logger
	timing timing
}

// newClient loads the account of a vault; start begins its work.
func newClient(ctx context.Context, cfg clientConfig) (*Client, error) {
	c := &Client{
		vault:        cfg.vault,
		log:          cfg.log,
		timing:       cfg.timing,
		arrivals:     make(chan arrival),
		places:       make(chan struct{}, maxDrains),
		kickOutbox:   newSignal(),
		kickReceipts: newSignal(),
		kickDelete:   newSignal(),
		kickDoor:     newSignal(),
		kickPlan:     newSignal(),
		kickPrepare:  newSignal(),
		kickContacts: newSignal(),
		kickCards:    newSignal(),
		channels:     map[[32]byte]*channel{},
		blocked:      map[[32]byte]bool{},
		periods:      map[identity.Period]*ownPeriod{},
		sending:      map[[16]byte]bool{},
		state:        Connection{State: ConnectionConnecting, Text: textConnecting},
		changed:      make(chan struct{}),
	}
	c.swarms = swarms{
		members: &members{
			net: cfg.net, now: cfg.now, rand: cfg.rand, keys: newRequestKeys(), rests: rests{until: map[keyPlace]time.Time{}},
			succession: newSuccession(cfg.dir, cfg.vault, cfg.log, func() { c.noteForked(true) }),
		},
		prices: prices{quotes: map[mailbox.Address]mailbox.WorkQuote{}},
		dir:    cfg.dir,
		timing: &c.timing,
		failed: map[keyPlace]time.Time{},

		witness: newWitness(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.vault.View(ctx, c.load); err != nil {
		c.cancel()
		return nil, err
	}
	return c, nil
}

func (c *Client) load(tx *vault.Tx) error {
	a, err := tx.Account()
	if err != nil {
		return err
	}
	seed, err := identity.SeedFromBytes(a.Seed)
	if err != nil {
		return err
	}
	c.persona = seed.Persona(c.number)
	c.salt = suite.Derive(a.Seed, labelMoment, suite.HashSize, wire.AppendUint32(nil, c.number))
	seed.Erase()
	clear(a.Seed)
	c.name, c.device, c.root = a.Name, a.Device, c.persona.ID().Root
	rows, err := tx.Conversations()
	if err != nil {
		return err
	}
	for _, row := range rows {
		ch, err := c.newChannel(row)
		if err != nil {
			return err
		}
		c.channels[ch.id] = ch
	}
	contacts, err := tx.Contacts()
	if err != nil {
		return err
	}
	for _, k := range contacts {
		if k.State == vault.ContactBlocked {
			c.blocked[k.ID] = true
		}
	}
	if err := c.loadCover(tx); err != nil {
		return err
	}
	if err := c.loadFaults(tx); err != nil {
		return err
	}
	forks, err := readForks(tx)
	if err != nil {
		return err
	}
	c.forked = len(forks) > 0
	return c.loadPeriods(tx)
}

// start begins the work; stop ends it.
func (c *Client) start() {
	c.goDo(c.applyLoop)
	c.goDo(c.planLoop)
	c.goDo(c.outboxLoop)
	c.goDo(c.contactLoop)
	c.goDo(c.receiptLoop)
	c.goDo(func() { c.deleteLoop(c.kickDelete, false, c.timing.tombstones) })
	c.goDo(func() { c.deleteLoop(c.kickDoor, true, c.timing.door) })
	c.goDo(c.cardLoop)
	c.goDo(c.prepareLoop)
	c.goDo(c.witnessLoop)
	c.goDo(c.auditLoop)
	c.goDo(c.directoryLoop)
}

func (c *Client) stop() {
	c.mu.Lock() // remind starts no goroutine after this
	c.cancel()
	c.mu.Unlock()
	c.wg.Wait()
	c.hub.close()
}

// NetworkInfo says which network an account is in, and which of its directories
// is in use. People who compare it compare the key.
type NetworkInfo struct {
	Name   string `json:"name"`
	Key    string `json:"key"` // in hex
	Serial uint64 `json:"serial"`
	Nodes  int    `json:"nodes"`
}

// Network returns the account's network as the directory in use has it.
func (c *Client) Network() NetworkInfo {
	d := c.dir.Current()
	key := d.NetworkKey()
	return NetworkInfo{d.Name(), hex.EncodeToString(key[:]), d.Serial(), d.Len()}
}

// ID returns the account ID to show around.
func (c *Client) ID() string { return c.persona.ID().String() }

// Name returns the name that the account gave itself; nobody else sees it.
func (c *Client) Name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.name
}

// SetName changes it.
func (c *Client) SetName(ctx context.Context, name string) error {
	name, err := cleanName(name)
	if err != nil {
		return err
	}
	err = c.vault.Update(ctx, func(tx *vault.Tx) error {
		a, err := tx.Account()
		if err != nil {
			return err
		}
		a.Name = name
		return tx.SetAccount(a)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.name = name
	c.mu.Unlock()
	return nil
}
