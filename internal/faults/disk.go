package faults

import (
	"io/fs"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the node's disk.
func (g *Ground) FS() vfs.FS { return &disk{FS: vfs.Default, g: g} }

// disk refuses what takes room while it is full. Removing goes on, as on a disk
// that is really full.
type disk struct {
	vfs.FS
	g *Ground
}

// room is an error while the disk is full.
func (g *Ground) room(op, name string) error {
	if g.state.Load().DiskFull {
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOSPC}
	}
	return nil
}

func (d *disk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, g: d.g}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.g.room("create", name); err != nil {
		return nil, err
	}
	return d.wrap(d.FS.Create(name, c))
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.wrap(d.FS.OpenReadWrite(name, c, opts...))
}

func (d *disk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.ReuseForWrite(oldname, newname, c))
}

func (d *disk) OpenDir(name string) (vfs.File, error) { return d.wrap(d.FS.OpenDir(name)) }

func (d *disk) Link(oldname, newname string) error {
	if err := d.g.room("link", newname); err != nil {
		return err
	}
	return d.FS.Link(oldname, newname)
}

func (d *disk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := d.FS.GetDiskUsage(path)
	if d.g.state.Load().DiskFull {
		u.UsedBytes, u.AvailBytes = u.TotalBytes, 0
	}
	return u, err
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

type diskFile struct {
	vfs.File
	g *Ground
}

// Write takes half of what no longer fits, as a disk does that fills up in the
// middle of a record.
func (f *diskFile) Write(p []byte) (int, error) {
	if err := f.g.room("write", ""); err != nil {
		n, failed := f.File.Write(p[:len(p)/2])
		if failed != nil {
			err = failed
		}
		return n, err
	}
	return f.File.Write(p)
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.g.room("write", ""); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *diskFile) Preallocate(off, length int64) error {
	if err := f.g.room("fallocate", ""); err != nil {
		return err
	}
	return f.File.Preallocate(off, length)
}

// wait is the fault itself: nothing tells when a slow disk will be done.
func (g *Ground) wait() { time.Sleep(g.state.Load().DiskWait) }

func (f *diskFile) Sync() error {
	f.g.wait()
	return f.File.Sync()
}

func (f *diskFile) SyncData() error {
	f.g.wait()
	return f.File.SyncData()
}

func (f *diskFile) SyncTo(length int64) (bool, error) {
	f.g.wait()
	return f.File.SyncTo(length)
}
