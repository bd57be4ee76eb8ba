//go:build unix

package vault

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestOnlyTheOwnerMayRead: whatever the mask of the process and whatever the
// directory was before, nobody else gets in.
func TestOnlyTheOwnerMayRead(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "profile")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	check := func(when string, least int) {
		t.Helper()
		n := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			}
			n++
			if info.Mode().Perm() != want {
				t.Errorf("%s: %s has mode %o", when, d.Name(), info.Mode().Perm())
			}
			return nil
		})
		if err != nil || n < least {
			t.Fatalf("%s: %d files, %v", when, n, err)
		}
	}
	write := func(tx *Tx) error { return tx.SetNumber("x", 1) }
	v := newVault(t, dir, write)
	check("made", 5) // the directory, header, database, log, lock
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", 4)
	for _, name := range []string{".", headerName, dbName, lockName} { // as an earlier program may have left them
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	v = reopen(t, dir)
	update(t, v, write)
	if err := v.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	update(t, v, write)
	check("opened again", 5)
}
