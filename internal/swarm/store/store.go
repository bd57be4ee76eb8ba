// Package store keeps the mailboxes of one swarm member on disk: grants of
// space, sealed envelopes in order of arrival, the owners' tombstones, and a
// log of all changes that other members tail to catch up.
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
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/wire"
)

const (
	// formatVersion is the version of the stored state.
	formatVersion = 1

	// Memory: an idle node has 60 MB for everything, so the engine gets a few.
	memTableSize      = 4 << 20
	memTableMax       = 4       // memtables before writes wait for a flush
	cacheSize         = 8 << 20 // blocks; envelopes are mostly read once
	maxOpenFiles      = 256
	maxManifestSize   = 256 << 10 // file bounds hold addresses: forget old ones soon
	targetFileSize    = 8 << 20   // a purge rewrites whole files: keep them small
	bloomBitsPerKey   = 10
	l0StopWrites      = 24
	maxCompactions    = 1 // two cores are shared with relaying
	groupMaxBytes     = 1 << 20
	groupMaxOps       = 256 // operations that share one fsync
	opQueue           = groupMaxOps
	expireChunk       = 512 // index rows taken away in one batch
	maxPageItems      = 1024
	maxPageBytes      = 1 << 20
	replicaSlack      = 2                      // see Envelope.Replica
	tombstoneSlack    = 1                      // see Tombstone.fits
	digestBytes       = 2*32 + 32 + 32 + 8 + 8 // a tombstoned digest's rows, and its place in two lists
	bucketSeconds     = 3600
	noExpiry          = ^uint64(0)
	defaultStoreBytes = 64 << 30
)

// Options configures Open. The zero value is a store on disk.
type Options struct {
	FS       vfs.FS       // nil: the disk
	Rand     io.Reader    // nil: crypto/rand; draws incarnations
	Logger   *slog.Logger // nil: silent
	MaxBytes uint64       // envelope bytes at most; 0: 64 GiB
}

// Store is one member's storage. Its methods may be called concurrently.
type Store struct {
	db     *pebble.DB
	fs     *freezeFS
	rand   io.Reader
	max    uint64
	ops    chan *op
	stop   chan struct{}
	done   chan struct{} // closed when the writer has ended
	purged chan struct{} // one token when files were deleted

	// closing guards db against use after Close; readers hold it shared.
	closing sync.RWMutex
	closed  bool

	incarnation uint64 // set by Open

	// state is what the writer alone changes; stats under mu copies it out.
	state state
	marks uint64 // counts marks of dirty buckets since Open
	mu    sync.Mutex
	stats Stats

	purge sync.Mutex // one purge at a time
}

// state is the row that every batch rewrites.
type state struct {
	incarnation uint64
	nextLog     uint64
	envelopes   uint64
	bytes       uint64
}

// Stats says how full the store is, and nothing of what is in it.
type Stats struct {
	Envelopes uint64
	Bytes     uint64
}

// Open opens the store in dir, creating it if there is none.
func Open(dir string, opts Options) (*Store, error) {
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
	s := &Store{
		fs:     newFreezeFS(opts.FS),
		rand:   opts.Rand,
		max:    opts.MaxBytes,
		ops:    make(chan *op, opQueue),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		purged: make(chan struct{}, 1),
	}
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref()
	db, err := pebble.Open(dir, s.engineOptions(cache, opts.Logger))
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	s.db = db
	if err := s.loadState(); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := s.fs.err(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	s.incarnation = s.state.incarnation
	s.publish()
	go s.write()
	return s, nil
}

func (s *Store) engineOptions(cache *pebble.Cache, logger *slog.Logger) *pebble.Options {
	o := &pebble.Options{
		FS:                          s.fs,
		Cache:                       cache,
		Cleaner:                     cleaner{},
		Logger:                      engineLogger{fs: s.fs, log: logger},
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTableMax,
		L0StopWritesThreshold:       l0StopWrites,
		MaxOpenFiles:                maxOpenFiles,
		MaxManifestFileSize:         maxManifestSize,
		CompactionConcurrencyRange:  func() (int, int) { return 1, maxCompactions },
		EventListener: &pebble.EventListener{
			TableDeleted: func(pebble.TableDeleteInfo) { s.notePurged() },
			WALDeleted:   func(pebble.WALDeleteInfo) { s.notePurged() },
		},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
		o.TargetFileSizes[i] = targetFileSize
	}
	// Envelopes are ciphertext: compressing them costs time and saves nothing.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return o
}

func (s *Store) loadState() error {
	v, closer, err := s.db.Get(keyState)
	if err == pebble.ErrNotFound {
		return s.createState()
	}
	if err != nil {
		return fmt.Errorf("store: read state: %w", err)
	}
	defer closer.Close()
	r := wire.NewReader(v)
	if version := r.Uint8(); r.Err() == nil && version != formatVersion {
		return fmt.Errorf("%w: %d, this program knows %d", ErrVersion, version, formatVersion)
	}
	s.state = state{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
	if err := r.Finish(); err != nil {
		return fmt.Errorf("store: state row: %w", ErrCorrupt)
	}
	return nil
}

func (s *Store) createState() error {
	var b [8]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		return fmt.Errorf("store: draw incarnation: %w", err)
	}
	s.state = state{incarnation: binary.BigEndian.Uint64(b[:]), nextLog: 1}
	return s.db.Set(keyState, s.state.encode(), pebble.Sync)
}

func (st state) encode() []byte {
	b := make([]byte, 0, 1+4*8)
	b = append(b, formatVersion)
	for _, v := range []uint64{st.incarnation, st.nextLog, st.envelopes, st.bytes} {
		b = wire.AppendUint64(b, v)
	}
	return b
}

// Incarnation is drawn when the store is created: a member that lost its disk
// has another one, and nobody's cursor fits it.
func (s *Store) Incarnation() uint64 { return s.incarnation }

// Stats returns how full the store is.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Failed is closed at the first failure to write. The store then answers every
// write with ErrFailed; opened again it holds what it had acknowledged.
func (s *Store) Failed() <-chan struct{} { return s.fs.frozen }

// Close waits for the writer and closes the files.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	s.closing.Unlock()
	close(s.stop)
	<-s.done
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// enter admits a reader of db; leave lets Close go on.
func (s *Store) enter() error {
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.closing.RUnlock() }

func (s *Store) publish() {
	s.mu.Lock()
	s.stats = Stats{Envelopes: s.state.envelopes, Bytes: s.state.bytes}
	s.mu.Unlock()
}

func (s *Store) notePurged() {
	select {
	case s.purged <- struct{}{}:
	default:
	}
}

// do hands an operation to the writer and waits until it is on disk.
func (s *Store) do(ctx context.Context, o *op) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	o.done = make(chan error, 1)
	select {
	case s.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	// Once it is queued the outcome is awaited, whatever ctx says: a caller
	// must not believe undone what may be on disk in a moment.
	return <-o.done
}
