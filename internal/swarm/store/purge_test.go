package store

import (
	"bytes"
	"context"
	"errors"
	"path"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// removeFS asks before a log or a table is removed.
type removeFS struct {
	vfs.FS
	remove func(name string) error
}

func (f removeFS) Remove(name string) error {
	if ext := path.Ext(name); ext == ".log" || ext == ".sst" {
		if err := f.remove(name); err != nil {
			return err
		}
	}
	return f.FS.Remove(name)
}

// withDeleted is a store from which an envelope was deleted, and some of its bytes.
func withDeleted(t *testing.T, remove func(name string) error) (s *Store, disk vfs.FS, gone []byte) {
	t.Helper()
	disk = vfs.NewMem()
	s, err := Open("store", Options{FS: removeFS{disk, remove}})
	if err != nil {
		t.Fatal(err)
	}
	a := address(1)
	grant(t, s, a, 1<<20)
	e := envelope(a, 0, 4096, testExpiry)
	put(t, s, e)
	if err := s.Delete(context.Background(), Tombstone{Address: a, ID: Ref{1}, Digests: []Digest{e.Digest}, Expiry: farExpiry}); err != nil {
		t.Fatal(err)
	}
	gone = e.Bytes[1000:1064]
	if !holds(t, disk, gone) {
		t.Fatal("the search finds nothing even before the purge")
	}
	return s, disk, gone
}

func holds(t *testing.T, disk vfs.FS, needle []byte) bool {
	t.Helper()
	names, err := disk.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := contents(disk, path.Join("store", name))
		if err == nil && bytes.Contains(b, needle) {
			return true
		}
	}
	return false
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestPurgeAwaitsLogs has the disk take a second to remove a log.
func TestPurgeAwaitsLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, disk, gone := withDeleted(t, func(name string) error {
			if path.Ext(name) == ".log" {
				time.Sleep(time.Second)
			}
			return nil
		})
		defer closeStore(t, s)
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := s.Purge(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a purge did not end with its context: %v", err)
		}
		if err := s.Purge(context.Background()); err != nil {
			t.Fatal(err)
		}
		if holds(t, disk, gone) {
			t.Error("deleted bytes are left after a purge")
		}
	})
}

// TestPurgeRemovesWhatStayed: the engine tries once to remove a file.
func TestPurgeRemovesWhatStayed(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	cause := errors.New("not removed")
	s, disk, gone := withDeleted(t, func(string) error {
		if refuse.Load() {
			return cause
		}
		return nil
	})
	defer closeStore(t, s)
	if err := s.Purge(context.Background()); !errors.Is(err, cause) {
		t.Fatalf("a purge that left files says %v", err)
	}
	refuse.Store(false)
	if err := s.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if holds(t, disk, gone) {
		t.Error("deleted bytes are left after a purge")
	}
}
