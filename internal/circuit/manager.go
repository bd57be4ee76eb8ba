package circuit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
)

// Config describes a Manager. Directory and Endpoint are required.
type Config struct {
	Directory directory.Source
	// Endpoint is a client's endpoint. The Manager does not close it.
	Endpoint *link.Endpoint
	// State keeps the guards. Default: they are forgotten at Close.
	State GuardStore
	// Now is the clock of ages and round trips. Default: time.Now.
	Now func() time.Time
	// Rand is read under a lock. Default: crypto/rand.
	Rand io.Reader
	// Logger gets counts and causes, never who is at the end of a path.
	// Default: none.
	Logger *slog.Logger
	// Idle is how many unused circuits are kept ready. Default: DefaultIdle.
	Idle int
	// OnEvent is called in order from one goroutine; it must not block for
	// long nor call Close. Default: none.
	OnEvent func(Event)
}

// Manager owns all circuits of a client. Its methods are safe for concurrent
// use.
type Manager struct {
	cfg     Config
	rand    *lockedReader
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	kick    chan struct{} // holds one: plan again
	events  chan Event
	efforts *efforts
	cover   cover

	mu        sync.Mutex // guards what follows
	closed    bool
	guards    *guardSet
	vanguards *vanguardSet
	unsaved   bool      // guards or vanguards changed
	counted   bool      // their counts changed
	savedAt   time.Time // when they were stored last
	inUse     identity.NodeID
	told      identity.NodeID // the guard that was last said to be in use
	said      map[string]bool // what was said to be too small
	pace      pace
	deaths    []death // in use, to be judged
	circuits  map[uint64]*circuit
	builds    map[*build]struct{}
	lastID    uint64
	changed   chan struct{} // closed and replaced when circuits or builds change
	failures  int           // builds that failed in a row
	retryAt   time.Time     // no build before it
	lastErr   error         // of the last build that failed
	avoid     map[identity.NodeID]time.Time
}

// NewManager loads the guards and starts to keep circuits ready.
func NewManager(cfg Config) (*Manager, error) {
	if cfg.Directory == nil || cfg.Endpoint == nil {
		return nil, errors.New("circuit: a manager needs a directory and an endpoint")
	}
	cfg.fill()
	guards, vanguards, err := loadGuards(cfg.State)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		cfg:       cfg,
		rand:      &lockedReader{r: cfg.Rand},
		kick:      make(chan struct{}, 1),
		events:    make(chan Event, eventQueue),
		efforts:   newEfforts(),
		guards:    guards,
		vanguards: vanguards,
		savedAt:   cfg.Now(),
		circuits:  make(map[uint64]*circuit),
		builds:    make(map[*build]struct{}),
		changed:   make(chan struct{}),
		said:      make(map[string]bool),
		avoid:     make(map[identity.NodeID]time.Time),
		cover:     cover{kick: make(chan struct{}, 1)},
	}
	if err := m.refreshLocked(cfg.Now(), cfg.Directory.Current()); err != nil {
		return nil, err
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.wg.Go(m.maintain)
	m.wg.Go(m.eventLoop)
	m.wg.Go(m.coverLoop)
	return m, nil
}

func (cfg *Config) fill() {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Idle <= 0 {
		cfg.Idle = DefaultIdle
	}
	cfg.Idle = min(cfg.Idle, maxIdle)
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
}

func loadGuards(store GuardStore) (*guardSet, *vanguardSet, error) {
	if store == nil {
		return &guardSet{}, &vanguardSet{}, nil
	}
	b, err := store.Load()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrGuardState, err)
	}
	if len(b) == 0 {
		return &guardSet{}, &vanguardSet{}, nil
	}
	return parseGuards(b)
}

// Close ends all circuits and returns when every goroutine has ended.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.wg.Wait()
		return nil
	}
	m.closed = true
	live := slices.Collect(maps.Values(m.circuits))
	m.mu.Unlock()
	m.cancel()
	for _, c := range live {
		c.fail(ErrClosed)
	}
	m.wg.Wait()
	return m.saveGuards(0)
}

// saveGuards stores guards and vanguards if they changed, and counts that are
// older than age.
func (m *Manager) saveGuards(age time.Duration) error {
	m.mu.Lock()
	now := m.cfg.Now()
	save := m.cfg.State != nil && (m.unsaved || m.counted && now.Sub(m.savedAt) >= age)
	var b []byte
	if save {
		m.unsaved, m.counted, m.savedAt = false, false, now
		b = encodeGuards(m.guards, m.vanguards)
	}
	m.mu.Unlock()
	if !save {
		return nil
	}
	if err := m.cfg.State.Save(b); err != nil {
		return fmt.Errorf("%w: %w", ErrGuardState, err)
	}
	return nil
}

// maintain keeps circuits ready and ends old ones until the Manager is closed.
func (m *Manager) maintain() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	changed := m.cfg.Directory.Changed()
	for {
		select {
		case <-timer.C:
		case <-m.kick:
		case <-changed:
		case <-m.ctx.Done():
			return
		}
		changed = m.cfg.Directory.Changed() // before plan reads the directory
		ended, next := m.plan()
		for c, why := range ended {
			c.fail(why)
		}
		if err := m.saveGuards(saveEvery); err != nil {
			m.cfg.Logger.Warn("circuit: guards were not stored", "error", err)
		}
		timer.Reset(next)
	}
}

// kickMaintain makes maintain plan again soon.
func (m *Manager) kickMaintain() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// changedLocked wakes everyone who waits for a circuit.
func (m *Manager) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// NewPath ends all circuits and builds others. Streams end with a *DeadError.
func (m *Manager) NewPath() {
	m.mu.Lock()
	live := slices.Collect(maps.Values(m.circuits))
	m.mu.Unlock()
	for _, c := range live {
		c.fail(errNewPath)
	}
	m.kickMaintain()
}

// WaitReady returns when a circuit is ready.
func (m *Manager) WaitReady(ctx context.Context) error {
	for {
		m.mu.Lock()
		ready, changed, err := false, m.changed, m.lastErr
		for _, c := range m.circuits {
			ready = ready || !c.dead()
		}
		m.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return noCircuit(ctx.Err(), err)
		case <-m.ctx.Done():
			return ErrClosed
		}
	}
}

// noCircuit joins why the waiting ended with why there was no circuit.
func noCircuit(waited, last error) error {
	if last == nil {
		return fmt.Errorf("%w: %w", ErrNoCircuit, waited)
	}
	return fmt.Errorf("%w: %w: %w", ErrNoCircuit, waited, last)
}

// Paths describes all circuits, oldest first, and those being built.
func (m *Manager) Paths() []PathInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []PathInfo
	for _, c := range m.circuits {
		if !c.dead() {
			out = append(out, c.infoLocked())
		}
	}
	for b := range m.builds {
		p := b.path
		out = append(out, PathInfo{
			ID: b.id, Guard: hopOf(p.Guard), Middle: hopOf(p.Middle), Exit: hopOf(p.Exit), State: PathBuilding,
		})
	}
	slices.SortFunc(out, func(a, b PathInfo) int { return int(int64(a.ID) - int64(b.ID)) })
	return out
}

// infoLocked needs Manager.mu.
func (c *circuit) infoLocked() PathInfo {
	state := PathReady
	switch {
	case c.retired:
		state = PathRetiring
	case c.used:
		state = PathInUse
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return PathInfo{
		ID: c.id, Guard: hopOf(c.path.Guard), Middle: hopOf(c.path.Middle), Exit: hopOf(c.path.Exit),
		State: state, Isolation: c.iso, BuiltAt: c.builtAt, RTT: c.rtt, Streams: len(c.streams),
	}
}

// shortened returns a life that is up to one in ageShare shorter, at random.
func (m *Manager) shortened(life time.Duration) time.Duration {
	spread := life / ageShare
	return m.between(life-spread, spread)
}

// between returns a random time from least to least+spread; the least one if
// there is no randomness, which whoever builds a circuit finds out.
func (m *Manager) between(least, spread time.Duration) time.Duration {
	n, err := randomBelow(m.rand, uint64(spread)+1)
	if err != nil {
		return least
	}
	return least + time.Duration(n)
}

// probeToken returns a token for a PROBE.
func (m *Manager) probeToken() (token [8]byte, err error) {
	_, err = io.ReadFull(m.rand, token[:])
	return token, err
}

// lockedReader makes any source of randomness safe for concurrent use.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

// Read implements io.Reader.
func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
