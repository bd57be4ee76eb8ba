// Package swarm is a node's storage side: it answers clients' sealed requests,
// keeps a mailbox on a majority of its swarm's members, pushes what arrives to
// subscribers, and catches up with the other members after an absence.
//
// It opens no connection itself: package node hands it the streams that arrive
// over link's service connections and a PeerDialer for its own. It sees
// envelopes, never their content, and no log line or metric of it names an
// address, a mailbox or a client. It implements spec/swarm.md. The first byte
// of a stream tells its two protocols apart:
//
//	'C' ‖ frames of spec/mailbox.md §4.6     (written by the exit)
//	'P' ‖ hello ‖ calls, replies in any order (between members)
//	'D' ‖ a question of spec/directory.md §4.4  (between nodes)
package swarm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// Labels of this package (spec/swarm.md §3).
const (
	labelHello   suite.Label = suite.LabelPrefix + "swarm/hello"
	labelKeepers suite.Label = suite.LabelPrefix + "swarm/keepers"
	labelGrant   suite.Label = suite.LabelPrefix + "swarm/grant"
	labelStone   suite.Label = suite.LabelPrefix + "swarm/tombstone"
)

var (
	// ErrStream is returned for a stream that is neither a client's nor a peer's.
	ErrStream = errors.New("swarm: unknown kind of stream")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("swarm: closed")
	// ErrTooMany is returned for a stream over the limit.
	ErrTooMany = errors.New("swarm: too many streams")
	// ErrPeer is returned for a peer stream by someone who is no such member.
	ErrPeer = errors.New("swarm: not a member of this swarm")
	// ErrProtocol is returned for malformed frames between members.
	ErrProtocol = errors.New("swarm: malformed peer frame")
	// ErrNoMember is returned by New for a node that no directory lists, present
	// or past.
	ErrNoMember = errors.New("swarm: this node is not in the directory")
)

// PeerDialer opens a stream to another node; package node makes it of link's
// service connections.
type PeerDialer interface {
	OpenStream(ctx context.Context, node identity.NodeID) (io.ReadWriteCloser, error)
}

// Config configures New. Identity, Directory, Store and Peers are needed.
type Config struct {
	Identity  suite.SigningKey
	Directory directory.Source
	Store     *store.Store
	Peers     PeerDialer

	// ServeDirectory answers a question of another node for directories, for
	// at most streamIdle. Nil: such streams are refused.
	ServeDirectory func(from identity.NodeID, rwc io.ReadWriteCloser) error

	Now     func() time.Time      // nil: time.Now
	Rand    io.Reader             // nil: crypto/rand
	Logger  *slog.Logger          // nil: silent
	Metrics prometheus.Registerer // nil: none
	// WorkBits is the least price quoted and demanded, that of an idle and empty
	// member; 0: mailbox.DefaultWorkBits.
	WorkBits uint8
	// ReconcileEvery is how often a member compares with the others; 0: the
	// default of spec/swarm.md §3. Less than 0: never, and not when told either,
	// so that hints alone bring what was missed.
	ReconcileEvery time.Duration
}

// Swarm is one member. Lock order: no mutex of this package is held while
// another is taken.
type Swarm struct {
	cfg      Config
	self     identity.NodeID
	members  members
	keys     *requestKeys
	replay   *mailbox.ReplayCache
	receipts *receiptSigner
	subs     *subscriptions
	pushers  *pushers
	places   *shares // streams
	ahead    *shares // requests that are read and not answered
	replies  *shares // answers that are not written yet
	metrics  *metrics
	gate     *gate   // before clients' requests
	crowds   *crowds // of those in work
	price    *price
	stall    time.Duration // writeStall, but in tests
	turn     chan struct{} // holds a token during a round of reconciliation
	serving  chan struct{} // holds a token for each reconcile call in work
	hints    chan store.Hint
	offered  atomic.Int64 // when a peer last handed over what this one missed
	moves    *moves
	touched  touched
	copies   pace
	got      atomic.Uint64 // records copied from others

	// ctx ends when the member closes; everything it started waits on wg.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// mu guards the streams being served and closed.
	mu      sync.Mutex
	closed  bool
	streams map[io.Closer]struct{}
}

// New makes a member of the swarm that the directory puts its identity into.
// Nothing runs before Run.
func New(cfg Config) (*Swarm, error) {
	cfg = cfg.withDefaults()
	s := &Swarm{
		cfg:    cfg,
		self:   identity.NodeID(cfg.Identity.Public()),
		replay: mailbox.NewReplayCache(mailbox.DefaultReplayLimit),
		receipts: &receiptSigner{
			wake: make(chan struct{}, 1),
			node: cfg.Identity, rand: cfg.Rand, now: cfg.Now,
		},
		gate:    newGate(maxRequests),
		places:  newShares(maxStreams, maxNodeStreams),
		ahead:   newShares(maxAhead, maxAhead/exitShare),
		replies: newShares(maxReplies, maxReplies/exitShare),
		crowds:  newCrowds(),
		stall:   writeStall,
		turn:    make(chan struct{}, 1),
		serving: make(chan struct{}, reconServing),
		hints:   make(chan store.Hint, hintQueue),
		streams: make(map[io.Closer]struct{}),
	}
	s.members.s = s
	s.members.adopt(cfg.Directory.Current(), cfg.Directory.Past())
	if _, listed := directory.Listed(cfg.Directory, s.self); !listed {
		return nil, ErrNoMember
	}
	s.price = &price{least: cfg.WorkBits, full: cfg.Store.Full, load: s.gate.load}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.keys = &requestKeys{s: s}
	s.subs, s.pushers = newSubscriptions(s), &pushers{s: s}
	s.moves, s.touched.s = newMoves(s), s
	if err := s.moves.begin(s.ctx, s.view()); err != nil {
		return nil, err
	}
	var err error
	s.metrics, err = newMetrics(cfg.Metrics, s)
	return s, err
}

func (cfg Config) withDefaults() Config {
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
	if cfg.WorkBits == 0 {
		cfg.WorkBits = mailbox.DefaultWorkBits
	}
	if cfg.ReconcileEvery == 0 {
		cfg.ReconcileEvery = reconcileEvery
	}
	return cfg
}

// Run lets the member work until ctx ends or its store fails, and then closes
// it. It returns nil for the first and the failure for the second.
func (s *Swarm) Run(ctx context.Context) error {
	if !s.start(s.receipts.run, s.renewKeys, s.maintain, s.subs.sweepLoop, s.members.follow, s.followSections, s.followRepairs, s.keepHints, s.moves.run) {
		return ErrClosed
	}
	var err error
	select {
	case <-ctx.Done():
	case <-s.ctx.Done():
	case <-s.cfg.Store.Failed():
		err = s.cfg.Store.Err()
	}
	return errors.Join(err, s.Close())
}

// start runs loops that Close waits for; it reports false after Close.
func (s *Swarm) start(loops ...func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	for _, loop := range loops {
		s.wg.Go(func() { loop(s.ctx) })
	}
	return true
}

// Close ends all streams and waits for all goroutines. The store stays open.
func (s *Swarm) Close() error {
	s.mu.Lock()
	s.closed = true
	open := make([]io.Closer, 0, len(s.streams))
	for c := range s.streams {
		open = append(open, c)
	}
	s.mu.Unlock()
	s.cancel()
	for _, c := range open {
		cut(c)
	}
	s.subs.close()
	s.wg.Wait()
	s.keys.erase()
	return nil
}

// admit registers a stream that a node opened, so that Close ends it and waits.
func (s *Swarm) admit(from identity.NodeID, c io.Closer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case !s.places.take(from, 1):
		return ErrTooMany
	}
	s.streams[c] = struct{}{}
	s.wg.Add(1)
	return nil
}

func (s *Swarm) release(from identity.NodeID, c io.Closer) {
	_ = c.Close()
	s.places.give(from, 1)
	s.mu.Lock()
	delete(s.streams, c)
	s.mu.Unlock()
	s.wg.Done()
}

func (s *Swarm) unixNow() uint64 { return uint64(max(s.cfg.Now().Unix(), 0)) }

// storeError turns the store's errors into those that a client is told.
func storeError(err error) error {
	for _, c := range []struct{ from, to error }{
		{store.ErrNotOpen, mailbox.ErrNotOpen},
		{store.ErrQuota, mailbox.ErrQuota},
		{store.ErrFull, mailbox.ErrBusy},
		{store.ErrTooLate, mailbox.ErrExpired},
		{store.ErrConflict, mailbox.ErrExpired},
		{store.ErrTooLarge, mailbox.ErrTooLarge},
		{store.ErrClosed, mailbox.ErrBusy},
		{store.ErrAway, mailbox.ErrBusy},
		{store.ErrNotReady, mailbox.ErrBusy},
		{store.ErrBusy, mailbox.ErrBusy},
		{context.Canceled, mailbox.ErrBusy},
		{context.DeadlineExceeded, mailbox.ErrBusy},
	} {
		if errors.Is(err, c.from) {
			return c.to
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", mailbox.ErrInternal, err)
	}
	return nil
}

// lockedReader lets an injected source of randomness serve all goroutines.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
