package store

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fault is what happens to one operation on the disk.
type fault int

const (
	none   fault = iota
	full         // ENOSPC, and nothing written
	short        // ENOSPC, after half of it was written
	broken       // EIO, and nothing written
)

func (f fault) err() error {
	switch f {
	case none:
		return nil
	case broken:
		return syscall.EIO
	}
	return syscall.ENOSPC
}

// faultFS asks before every change of the disk what shall become of it.
type faultFS struct {
	vfs.FS
	before func(op string) fault

	mu    sync.Mutex
	avail uint64 // what GetDiskUsage says; 0: that it cannot say
}

func (f *faultFS) setAvail(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.avail = n
}

func (f *faultFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.avail == 0 {
		return vfs.DiskUsage{}, errors.ErrUnsupported
	}
	return vfs.DiskUsage{AvailBytes: f.avail}, nil
}

func (f *faultFS) wrap(op string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := f.before(op).err(); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f}, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap("create", func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap("open", func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return &faultFile{File: file, fs: f}, err
}

func (f *faultFS) Link(oldname, newname string) error {
	if err := f.before("link").err(); err != nil {
		return err
	}
	return f.FS.Link(oldname, newname)
}

func (f *faultFS) Rename(oldname, newname string) error {
	if err := f.before("rename").err(); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

func (f *faultFS) Remove(name string) error {
	if err := f.before("remove").err(); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

type faultFile struct {
	vfs.File
	fs *faultFS
}

func (f *faultFile) Write(p []byte) (int, error) {
	what := f.fs.before("write")
	if what == short {
		n, err := f.File.Write(p[:len(p)/2])
		return n, errors.Join(what.err(), err)
	}
	if err := what.err(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) sync(do func() error) error {
	if err := f.fs.before("sync").err(); err != nil {
		return err
	}
	return do()
}

func (f *faultFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *faultFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *faultFile) SyncTo(n int64) (whole bool, err error) {
	err = f.sync(func() (err error) { whole, err = f.File.SyncTo(n); return err })
	return whole, err
}

const sector = 512

// tear returns what a power cut could leave of live's folder: of each file what
// was synced, and of the rest, by how, nothing, a prefix that ends anywhere, or
// any sectors, with zeros where the others should be. Names of files come to the
// disk in their order, as journals of file systems keep it.
func tear(t *testing.T, live *vfs.MemFS, dir string, how int, rng *rand.Rand) *vfs.MemFS {
	t.Helper()
	synced := live.CrashClone(vfs.CrashCloneCfg{})
	if how == 0 {
		return synced
	}
	image := live.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100 * rng.IntN(2), RNG: rng})
	names, err := image.List(dir)
	if err != nil {
		return image // nothing of it was synced yet
	}
	for _, name := range names {
		path := image.PathJoin(dir, name)
		now, err := contents(live, path)
		if err != nil {
			continue // removed, but not durably
		}
		sure, err := contents(synced, path)
		if err != nil || len(sure) > len(now) {
			sure = nil
		}
		tail := now[len(sure):]
		if how == 1 {
			tail = tail[:rng.IntN(len(tail)+1)]
		} else {
			for i := 0; i < len(tail); i += sector {
				if rng.IntN(2) == 0 {
					clear(tail[i:min(i+sector, len(tail))])
				}
			}
		}
		rewrite(t, image, path, append(sure[:len(sure):len(sure)], tail...))
	}
	return image
}

func contents(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func rewrite(t *testing.T, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
