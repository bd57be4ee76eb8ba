// Package store keeps the mailboxes of one swarm member on disk: grants of
// space, sealed envelopes in order of arrival, the owners' tombstones, and
// summaries of them all by which members find out what the other one lacks.
//
// It is not a judge: signatures, proofs of work and times are checked by
// package swarm before anything comes here, and travel along as opaque proofs,
// so that every other member can check them again. It keeps what it
// acknowledged through a crash at any point, and what expired or was deleted
// disappears from its files (spec/swarm.md §4).
package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/wire"
)

const (
	// formatVersion is the version of the stored state.
	formatVersion = 1

	// Memory: an idle node has 60 MB for everything, so the engine gets a few.
	memTableSize      = 8 << 20
	memTableMax       = 4        // memtables before writes wait for a flush
	cacheSize         = 24 << 20 // two memtables, which the engine counts here, and blocks
	maxOpenFiles      = 256
	maxManifestSize   = 256 << 10 // file bounds hold addresses: forget old ones soon
	targetFileSize    = 8 << 20   // a purge rewrites whole files: keep them small
	bloomBitsPerKey   = 10
	l0Compact         = 16 // half of it in layers of flushed tables are merged at once: few merges rewrite less
	l0StopWrites      = 32
	maxCompactions    = 1 // two cores are shared with relaying
	groupMaxBytes     = 1 << 20
	groupMaxOps       = 256 // operations that share one fsync
	groupPause        = 3   // the pause before a batch, in times of the last one's duration
	groupPauseMax     = 4 * time.Millisecond
	opQueue           = groupMaxOps
	expireChunk       = 512 // index rows taken away in one batch
	maxPageItems      = 1024
	maxPageBytes      = 1 << 20
	replicaSlack      = 2                      // see Envelope.Replica
	tombstoneSlack    = 1                      // see Tombstone.fits
	digestBytes       = 2*32 + 32 + 32 + 8 + 8 // a tombstoned digest's rows, and its places in lists
	bucketSeconds     = 3600
	noExpiry          = ^uint64(0)
	defaultStoreBytes = 64 << 30
)

// Options configures Open. The zero value is a store on disk.
type Options struct {
	FS       vfs.FS       // nil: the disk
	Rand     io.Reader    // nil: crypto/rand; draws generations
	Logger   *slog.Logger // nil: silent
	MaxBytes uint64       // envelope bytes at most; 0: 64 GiB
	Reserve  uint64       // bytes that must stay free on the disk; 0: 512 MiB

	Now func() time.Time // nil: time.Now; stamps each opening
}

// Store is one member's storage. Its methods may be called concurrently.
type Store struct {
	dir     string
	disk    vfs.FS
	rand    io.Reader
	now     func() time.Time
	log     *slog.Logger
	max     uint64
	reserve uint64
	ops     chan *op
	stop    chan struct{}
	between chan func()   // run by the writer when no batch is under way
	done    chan struct{} // closed when the writer has ended
	tended  chan struct{} // closed when tend has ended
	purged  chan struct{} // one token when files were deleted
	failed  chan struct{} // closed at a failure for good
	broken  error         // why; set before failed is closed

	beside   bool          // a new store that will take another's place
	vanished bool          // only a damaged one, set aside, was found
	lacks    bool          // it is not what was here last; set while it is opened
	losses   atomic.Uint64 // repairs that may have cost something

	health   health
	damaged  chan struct{} // one token when a row or file is not what was written
	repaired chan struct{} // one token when damage was repaired

	// gate guards db, fs and readOnly: who is inside uses them, and they change
	// only while it is shut.
	gate     *gate
	db       *pebble.DB
	fs       *freezeFS
	readOnly bool // the disk is full

	summaries *summaries
	hinted    map[Node]int // hints for each node; the writer's

	// ended and took are of the last batch, and the writer's own.
	ended time.Time
	took  time.Duration

	// state is what the writer alone changes; stats under mu copies it out.
	state state
	marks uint64 // counts marks of dirty buckets since Open
	mu    sync.Mutex
	stats Stats

	purge sync.Mutex // one purge at a time
}

// state is the row that every batch rewrites.
type state struct {
	envelopes uint64
	bytes     uint64
	opened    uint64 // stamp of the last opening, see stamp
}

// Stats says how full the store is, and nothing of what is in it.
type Stats struct {
	Envelopes uint64
	Bytes     uint64
	Hints     uint64 // for other members, that wait
}

// Open opens the store in dir, creating it if there is none. It returns
// ErrDamaged for one that the engine cannot read, and ErrInUse for one that is
// open already.
func Open(dir string, opts Options) (*Store, error) {
	s := newStore(dir, opts)
	var err error
	if s.vanished, err = finishSalvage(s.disk, dir); err != nil {
		return nil, err
	}
	if err := s.openEngine(); err != nil {
		return nil, err
	}
	s.health.readOnly.Store(s.readOnly)
	go s.write()
	go s.tend()
	return s, nil
}

func newStore(dir string, opts Options) *Store {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = defaultStoreBytes
	}
	if opts.Reserve == 0 {
		opts.Reserve = defaultReserve
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{
		dir:      dir,
		disk:     opts.FS,
		rand:     opts.Rand,
		now:      opts.Now,
		log:      opts.Logger,
		max:      opts.MaxBytes,
		reserve:  opts.Reserve,
		ops:      make(chan *op, opQueue),
		stop:     make(chan struct{}),
		between:  make(chan func()),
		done:     make(chan struct{}),
		tended:   make(chan struct{}),
		purged:   make(chan struct{}, 1),
		failed:   make(chan struct{}),
		damaged:  make(chan struct{}, 1),
		repaired: make(chan struct{}, 1),
		gate:     newGate(),
	}
	s.summaries = newSummaries(s)
	return s
}

// sibling is a store of the same kind in another folder, not open yet.
func (s *Store) sibling(dir string) *Store {
	x := newStore(dir, Options{
		FS: s.disk, Rand: s.rand, Logger: s.log, MaxBytes: s.max, Reserve: s.reserve, Now: s.now,
	})
	x.beside = true
	return x
}

func (st state) encode() []byte {
	b := make([]byte, 0, 1+3*8)
	b = append(b, formatVersion)
	for _, v := range []uint64{st.envelopes, st.bytes, st.opened} {
		b = wire.AppendUint64(b, v)
	}
	return b
}

// Stats returns how full the store is.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Failed is closed when the disk failed for good: the store then answers every
// write with ErrFailed. Opened again it holds what it had acknowledged. A full
// disk is no such failure.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err says why the store failed, once Failed is closed.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return s.broken
	default:
		return nil
	}
}

// Repaired gets a token when the store lost what was damaged, and lacks it now.
func (s *Store) Repaired() <-chan struct{} { return s.repaired }

// Losses counts the repairs since Open that may have cost something. It counts
// before the repaired store answers anybody: whoever read the same number before
// and after a question was answered by one store.
func (s *Store) Losses() uint64 { return s.losses.Load() }

// noteDamage has the store repaired, if an error says that it is damaged. What
// an engine sees once its disk is frozen says nothing of what lies on it.
func (s *Store) noteDamage(disk *freezeFS, err error) {
	if err != nil && isDamage(err) && disk.err() == nil {
		signal(s.damaged)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close waits for the writer and closes the files.
func (s *Store) Close() error {
	if !s.gate.end() {
		return nil
	}
	close(s.stop)
	<-s.done
	<-s.tended
	if s.db == nil {
		return nil // it could not be opened again
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// enter admits a caller to the engine; leave lets it be closed or exchanged.
func (s *Store) enter() error { return s.gate.enter() }

func (s *Store) leave() { s.gate.leave() }

func (s *Store) publish() {
	hints := 0
	for _, n := range s.hinted {
		hints += n
	}
	s.mu.Lock()
	s.stats = Stats{Envelopes: s.state.envelopes, Bytes: s.state.bytes, Hints: uint64(hints)}
	s.mu.Unlock()
}

func (s *Store) notePurged() { signal(s.purged) }

// do hands an operation to the writer and waits until it is on disk. Once it is
// queued the outcome is awaited, whatever ctx says: a caller must not believe
// undone what may be on disk in a moment.
func (s *Store) do(ctx context.Context, o *op) error {
	done := make(chan error, 1)
	o.done = func(err error) { done <- err }
	if err := s.queue(ctx, o); err != nil {
		return err
	}
	return <-done
}

// queue hands an operation to the writer. Unless it returns an error, o.done is
// called once, when the operation is on disk or has failed.
func (s *Store) queue(ctx context.Context, o *op) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.readOnly {
		s.leave()
		return ErrFull
	}
	done := o.done
	o.done = func(err error) {
		s.leave()
		done(err)
	}
	select {
	case s.ops <- o:
		return nil
	case <-ctx.Done():
		s.leave()
		return ctx.Err()
	}
}
