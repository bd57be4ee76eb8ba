package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"sotto/internal/wire"
)

// seqBits is how many envelopes a mailbox may take in one opening; the bits
// above tell openings apart (see stamp).
const seqBits = 32

// openEngine opens the engine, for reading only if the disk is full.
func (s *Store) openEngine() error {
	err := s.openFor(false)
	if err == nil || !isFull(err) {
		return err
	}
	if read := s.openFor(true); read != nil {
		return errors.Join(err, read)
	}
	return nil
}

// openFor opens the engine for writing or for reading only. It leaves s.db nil
// when it fails. For reading it takes what lies on the disk and writes nothing.
func (s *Store) openFor(readOnly bool) error {
	disk := newFreezeFS(s.disk)
	db, err := s.openPebble(disk, readOnly)
	if err == nil {
		s.db, s.fs, s.readOnly = db, disk, readOnly
		err = s.loadState()
	}
	if isDamage(err) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if cause := disk.err(); cause != nil {
		err = fmt.Errorf("%w: %w", ErrFailed, cause)
	}
	if err != nil {
		s.closeEngine()
		return err
	}
	s.publish()
	return nil
}

func (s *Store) openPebble(disk *freezeFS, readOnly bool) (*pebble.DB, error) {
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref()
	o := s.engineOptions(disk, cache)
	o.ReadOnly = readOnly
	db, err := pebble.Open(s.dir, o)
	if err != nil && unreadable(err) {
		return nil, fmt.Errorf("%w: open: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	return db, nil
}

// unreadable tells files that the engine cannot make sense of, or misses, from
// a system that does not let it open them.
func unreadable(err error) bool {
	var system syscall.Errno
	return errors.Is(err, fs.ErrNotExist) || !errors.Is(err, ErrInUse) && !errors.As(err, &system)
}

// closeEngine gives up an engine that failed: why is known, and what it reports
// now adds nothing.
func (s *Store) closeEngine() {
	if s.db != nil {
		_ = s.db.Close()
		s.db = nil
	}
}

func (s *Store) engineOptions(disk *freezeFS, cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		FS:                          disk,
		Cache:                       cache,
		Cleaner:                     cleaner{},
		Logger:                      engineLogger{fs: disk, log: s.log},
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTableMax,
		L0CompactionThreshold:       l0Compact,
		L0StopWritesThreshold:       l0StopWrites,
		MaxOpenFiles:                maxOpenFiles,
		MaxManifestFileSize:         maxManifestSize,
		CompactionConcurrencyRange:  func() (int, int) { return 1, maxCompactions },
		EventListener: &pebble.EventListener{
			DataCorruption: func(i pebble.DataCorruptionInfo) { s.noteDamage(disk, i.Details) },
			TableDeleted:   func(pebble.TableDeleteInfo) { s.notePurged() },
			WALDeleted:     func(pebble.WALDeleteInfo) { s.notePurged() },
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
	v, err := getCopy(s.db, keyState)
	switch {
	case errors.Is(err, ErrNotFound):
		s.state = state{}
	case err != nil:
		return err
	default:
		if s.state, err = parseState(v); err != nil {
			return err
		}
	}
	if err := s.countHints(); err != nil {
		return err
	}
	if s.beside {
		return s.stamp()
	}
	if err := s.judge(); err != nil || s.readOnly {
		return err
	}
	return s.stamp()
}

// stamp gives this opening a number above all earlier ones. Sequences begin
// with it, so that none is given twice, although a reader may have been shown
// one that a power cut took back, or the folder may be an old copy
// (spec/swarm.md §4.4). The file beside the store knows both until the new one is
// on disk, so that a crash at any point makes it no older copy.
func (s *Store) stamp() error {
	had := s.state.opened
	s.state.opened = max(had+1, uint64(max(s.now().Unix(), 0)))
	if !s.beside {
		if err := s.writeLives(had, s.state.opened); err != nil {
			return err
		}
	}
	if err := s.db.Set(keyState, s.state.encode(), pebble.Sync); err != nil {
		return fmt.Errorf("store: write state: %w", err)
	}
	if s.beside {
		return nil
	}
	return s.writeLives(s.state.opened)
}

func parseState(v []byte) (state, error) {
	r := wire.NewReader(v)
	if version := r.Uint8(); r.Err() == nil && version != formatVersion {
		return state{}, fmt.Errorf("%w: %d, this program knows %d", ErrVersion, version, formatVersion)
	}
	st := state{r.Uint64(), r.Uint64(), r.Uint64()}
	if err := r.Finish(); err != nil {
		return state{}, fmt.Errorf("store: state row: %w", ErrCorrupt)
	}
	return st, nil
}
