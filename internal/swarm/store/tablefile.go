package store

import (
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// tableWrite is how much of a table goes to the disk at a time. The engine
	// hands over block by block, and a block with an envelope is a system call.
	tableWrite = 256 << 10
	// tablePause is for how long its writer rests after each: 85 MB/s, several
	// times what a node takes in.
	tablePause = 3 * time.Millisecond
)

// tableFile is a table that is being written, by one goroutine. It gathers
// writes, and leaves the processor and the disk to others after each: flushes
// and merges are long, nobody waits for them, and members that take the same
// puts begin them at the same moment (spec/swarm.md §5.3).
type tableFile struct {
	freezeFile
	buf []byte
}

func (f *tableFile) Write(p []byte) (int, error) {
	f.buf = append(f.buf, p...)
	if len(f.buf) >= tableWrite {
		f.flush()
		time.Sleep(tablePause)
	}
	runtime.Gosched()
	return len(p), nil
}

// flush passes on what was gathered. Like all writes it fails by freezing.
func (f *tableFile) flush() {
	if len(f.buf) > 0 {
		_, _ = f.freezeFile.Write(f.buf)
		f.buf = f.buf[:0]
	}
}

func (f *tableFile) Sync() error {
	f.flush()
	return f.freezeFile.Sync()
}

func (f *tableFile) SyncData() error {
	f.flush()
	return f.freezeFile.SyncData()
}

func (f *tableFile) SyncTo(length int64) (full bool, err error) {
	f.flush()
	return f.freezeFile.SyncTo(length)
}

func (f *tableFile) Stat() (vfs.FileInfo, error) {
	f.flush()
	return f.freezeFile.Stat()
}

func (f *tableFile) Close() error {
	f.flush()
	return f.freezeFile.Close()
}
