package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What the engine calls its files.
const (
	logExt   = ".log"
	tableExt = ".sst"
)

// freezeFS turns the first failure to write into a crash: from then on nothing
// reaches the disk any more, and the engine, which would panic or exit on some
// of these failures, is told that all went well. What lies on disk is what a
// power cut at that moment would have left, and the store acknowledges nothing
// after it (Store.commit asks err).
type freezeFS struct {
	vfs.FS
	frozen chan struct{} // closed at the first failure

	// mu guards all below.
	mu    sync.Mutex
	cause error
	stuck map[string]bool // logs and tables that could not be removed
}

func newFreezeFS(fs vfs.FS) *freezeFS {
	return &freezeFS{FS: fs, frozen: make(chan struct{}), stuck: make(map[string]bool)}
}

func (f *freezeFS) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

func (f *freezeFS) freeze(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause == nil {
		f.cause = err
		close(f.frozen)
	}
}

// try runs a change of the disk, unless frozen; it never fails.
func (f *freezeFS) try(change func() error) {
	if f.err() != nil {
		return
	}
	if err := change(); err != nil {
		f.freeze(err)
	}
}

// create runs an opening for writing; frozen, it gives a file in memory.
func (f *freezeFS) create(open func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	f.try(func() (err error) {
		file, err = open()
		return err
	})
	if file == nil {
		return vfs.NewMem().Create("frozen", vfs.WriteCategoryUnspecified)
	}
	return &freezeFile{File: file, fs: f}, nil
}

func (f *freezeFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.create(func() (vfs.File, error) { return f.FS.Create(name, c) })
	if frozen, ok := file.(*freezeFile); ok && path.Ext(name) == tableExt {
		return &tableFile{freezeFile: *frozen}, err
	}
	return file, err
}

func (f *freezeFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.create(func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, opts...) })
}

func (f *freezeFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create(func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *freezeFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &freezeFile{File: file, fs: f}, nil
}

func (f *freezeFS) Link(oldname, newname string) error {
	f.try(func() error { return f.FS.Link(oldname, newname) })
	return nil
}

func (f *freezeFS) Rename(oldname, newname string) error {
	f.try(func() error { return f.FS.Rename(oldname, newname) })
	return nil
}

// Remove may fail without harm to what is kept. The engine tries once, so logs
// and tables that stay are noted: they may hold what was deleted.
func (f *freezeFS) Remove(name string) error {
	if f.err() != nil {
		return nil
	}
	err := f.FS.Remove(name)
	if ext := path.Ext(name); ext != logExt && ext != tableExt {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		delete(f.stuck, name)
	} else {
		f.stuck[name] = true
	}
	return err
}

// removeAgain removes what could not be removed. No file's number is used twice,
// so none of them is in use again.
func (f *freezeFS) removeAgain() error {
	f.mu.Lock()
	stuck := slices.Collect(maps.Keys(f.stuck))
	f.mu.Unlock()
	var errs []error
	for _, name := range stuck {
		if err := f.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *freezeFS) RemoveAll(name string) error {
	if f.err() != nil {
		return nil
	}
	return f.FS.RemoveAll(name)
}

// Lock tells a store that is open elsewhere from one that cannot be locked.
func (f *freezeFS) Lock(name string) (io.Closer, error) {
	c, err := f.FS.Lock(name)
	if err != nil && !isFull(err) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return c, err
}

func (f *freezeFS) Unwrap() vfs.FS { return f.FS }

// freezeFile passes writes on until its file system is frozen.
type freezeFile struct {
	vfs.File
	fs *freezeFS
}

func (f *freezeFile) Write(p []byte) (int, error) {
	f.fs.try(func() error { _, err := f.File.Write(p); return err })
	return len(p), nil
}

func (f *freezeFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.try(func() error { _, err := f.File.WriteAt(p, off); return err })
	return len(p), nil
}

func (f *freezeFile) Sync() error {
	f.fs.try(f.File.Sync)
	return nil
}

func (f *freezeFile) SyncData() error {
	f.fs.try(f.File.SyncData)
	return nil
}

func (f *freezeFile) SyncTo(length int64) (full bool, err error) {
	f.fs.try(func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, nil
}

// Preallocate is an optimisation: its failure only means slower writes.
func (f *freezeFile) Preallocate(offset, length int64) error {
	_ = f.File.Preallocate(offset, length)
	return nil
}

func (f *freezeFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.fs.freeze(err)
	}
	return nil
}

// cleaner removes obsolete files at once (DeleteCleaner, which is nearer), and
// has one property of ArchiveCleaner's: Pebble then never recycles a log, whose
// old bytes would outlive what they recorded (spec/swarm.md §4.4).
type cleaner struct {
	pebble.DeleteCleaner
	neverRecycle
}

type neverRecycle struct{ pebble.ArchiveCleaner }

// engineLogger takes the engine's words. Its events name files, never keys,
// except when a row is corrupt, so only the fact is passed on.
type engineLogger struct {
	fs  *freezeFS
	log *slog.Logger
}

func (l engineLogger) Infof(string, ...any) {}

func (l engineLogger) Errorf(string, ...any) { l.log.Warn("storage engine reported an error") }

// Fatalf must not end the process: the store freezes, and says so to callers.
func (l engineLogger) Fatalf(format string, args ...any) {
	l.fs.freeze(fmt.Errorf("storage engine: "+format, args...))
	l.log.Error("storage engine failed")
}
