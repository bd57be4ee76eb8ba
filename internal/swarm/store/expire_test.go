package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// onDisk reports in which files of dir any of the needles lies.
func onDisk(t *testing.T, dir string, needles ...[]byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil // removed since it was listed
		}
		if err != nil {
			return err
		}
		for _, n := range needles {
			if bytes.Contains(b, n) {
				files = append(files, filepath.Base(path))
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestExpiredBytesLeaveTheDisk looks for a piece of every envelope in all
// files, logs and tables alike.
func TestExpiredBytesLeaveTheDisk(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := address(1)
	grant(t, s, a, 64<<20)
	var gone, stay [][]byte
	var doomed []Digest
	for i := range 600 { // more than a memtable, so that logs rotate
		e := envelope(a, i, 16<<10, testExpiry+uint64(i%3)*10*bucketSeconds)
		put(t, s, e)
		piece := e.Bytes[len(e.Bytes)/2:][:64]
		switch {
		case e.Expiry == testExpiry:
			gone = append(gone, piece)
		case i%10 == 1:
			doomed = append(doomed, e.Digest)
			gone = append(gone, piece)
		default:
			stay = append(stay, piece)
		}
	}
	if len(onDisk(t, dir, gone...)) == 0 || len(onDisk(t, dir, stay...)) == 0 {
		t.Fatal("the search finds nothing even before expiry")
	}
	if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{1}, Digests: doomed, Expiry: farExpiry}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ExpireBefore(ctx, testExpiry); err != nil || n != 200 {
		t.Fatalf("expired %d, %v", n, err)
	}
	if err := s.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	if files := onDisk(t, dir, gone...); len(files) != 0 {
		t.Errorf("expired or deleted bytes are left in %v", files)
	}
	if got := len(fetchAll(t, s, a)); got != len(stay) {
		// 1 MiB is the largest page
		p, _ := s.Fetch(a, 0, 0, 1000, maxPageBytes)
		if !p.More {
			t.Errorf("%d envelopes left, want %d", got, len(stay))
		}
	}
	if st := s.Stats(); int(st.Envelopes) != len(stay) {
		t.Errorf("%d envelopes counted, want %d", st.Envelopes, len(stay))
	}
	if d, err := s.dirty(); err != nil || len(d) != 0 {
		t.Errorf("marks left after a purge: %v %v", d, err)
	}
}

// filesWithKeys leaves out the manifest, which names the bounds of old files.
func filesWithKeys(t *testing.T, dir string, a Address, d Digest) []string {
	t.Helper()
	return slices.DeleteFunc(onDisk(t, dir, a[:], d[:]), func(name string) bool { return strings.HasPrefix(name, "MANIFEST-") })
}

// TestEverythingExpires leaves an empty store, without one row too many.
func TestEverythingExpires(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := address(1)
	grant(t, s, a, 64<<20)
	var ds []Digest
	for i := range 20 {
		e := envelope(a, i, 4096, testExpiry)
		put(t, s, e)
		ds = append(ds, e.Digest)
	}
	if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{1}, Digests: ds[:5], Expiry: testExpiry}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExpireBefore(ctx, farExpiry); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	// The keys of deletion markers go when the engine gets round to it.
	for deadline, left := time.After(10*time.Second), []string(nil); ; {
		if left = filesWithKeys(t, dir, a, ds[3]); len(left) == 0 {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("the mailbox's address or a digest is left in %v", left)
		case <-time.After(5 * time.Millisecond):
		}
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if !bytes.Equal(it.Key(), keyState) {
			t.Errorf("row left in table %q", it.Key()[0])
		}
	}
}
