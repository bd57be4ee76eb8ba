package store

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lacking opens a store, and reports what it says in its log, and whether it
// says that it lacks something.
func lacking(t *testing.T, fs vfs.FS) (said string, lacks bool) {
	t.Helper()
	var log strings.Builder
	s, err := Open("store", Options{FS: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	marks, err := s.Marks()
	if err != nil {
		t.Fatal(err)
	}
	return log.String(), slices.ContainsFunc(marks, func(m Mark) bool { return m.Fact == FactSalvaged })
}

// TestAnotherStoreLacks: whatever is found in the place of the store that was
// here last says so, loudly and on disk, and that one never does.
func TestAnotherStoreLacks(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(fs *vfs.MemFS, earlier vfs.FS) error
		said   string
	}{
		"the same": {func(*vfs.MemFS, vfs.FS) error { return nil }, ""},
		"an older copy": {func(fs *vfs.MemFS, earlier vfs.FS) error {
			if err := fs.RemoveAll("store"); err != nil {
				return err
			}
			_, err := vfs.Clone(earlier, fs, "store", "store")
			return err
		}, "older copy"},
		"one from elsewhere": {func(fs *vfs.MemFS, _ vfs.FS) error { return fs.Remove("store" + SuffixOpened) }, "from elsewhere"},
		"none":               {func(fs *vfs.MemFS, _ vfs.FS) error { return fs.RemoveAll("store") }, "is gone"},
		"a damaged one, set aside": {func(fs *vfs.MemFS, _ vfs.FS) error {
			if err := fs.Remove("store" + SuffixOpened); err != nil {
				return err
			}
			return fs.Rename("store", "store"+SuffixDamaged)
		}, "is gone"},
		"a file that is not ours": {func(fs *vfs.MemFS, _ vfs.FS) error {
			rewrite(t, fs, "store"+SuffixOpened, []byte("x"))
			return nil
		}, "older copy"},
	} {
		t.Run(name, func(t *testing.T) {
			fs, _ := filled(t)
			earlier := copyStore(t, fs)
			if said, lacks := lacking(t, fs); lacks {
				t.Fatalf("it lacks something when it is opened again: %s", said)
			}
			if err := tc.change(fs, earlier); err != nil {
				t.Fatal(err)
			}
			said, lacks := lacking(t, fs)
			if lacks != (tc.said != "") || !strings.Contains(said, tc.said) {
				t.Errorf("lacks %v, and says %q", lacks, said)
			}
			if said, again := lacking(t, fs); again != lacks || strings.Contains(said, "level=ERROR") {
				t.Errorf("opened again: lacks %v, and says %q", again, said)
			}
		})
	}
	if said, lacks := lacking(t, vfs.NewMem()); lacks || said != "" {
		t.Errorf("a new one lacks %v: %q", lacks, said)
	}
}

// TestCrashWhileOpening cuts the power before each change of the disk that an
// opening makes: the store is never taken for an older copy.
func TestCrashWhileOpening(t *testing.T) {
	for at := range 60 {
		fs := vfs.NewCrashableMem()
		s, err := Open("store", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		grant(t, s, address(1), 1<<20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := fs.CrashClone(vfs.CrashCloneCfg{})
		cut := &cutFS{FS: before, left: at, clone: func() *vfs.MemFS { return before.CrashClone(vfs.CrashCloneCfg{}) }}
		if s, err = Open("store", Options{FS: cut}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if cut.after == nil {
			continue // it made fewer changes
		}
		if said, lacks := lacking(t, cut.after); lacks {
			t.Fatalf("cut before change %d: %s", at, said)
		}
	}
}

// cutFS keeps what a power cut would have left before one of its renamings,
// creations and removals.
type cutFS struct {
	vfs.FS
	clone func() *vfs.MemFS

	mu    sync.Mutex // guards all below
	left  int
	after *vfs.MemFS
}

func (c *cutFS) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 && c.after == nil {
		c.after = c.clone()
	}
	c.left--
}

func (c *cutFS) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	c.step()
	return c.FS.Create(name, cat)
}

func (c *cutFS) Rename(from, to string) error {
	c.step()
	return c.FS.Rename(from, to)
}

func (c *cutFS) Remove(name string) error {
	c.step()
	return c.FS.Remove(name)
}
