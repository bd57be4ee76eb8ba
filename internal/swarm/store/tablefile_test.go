package store

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestTablesAreWrittenInLargePieces: what a table's writer was given reaches the
// disk in few writes, in order, and all of it before a sync, a look at its size
// or its end returns.
func TestTablesAreWrittenInLargePieces(t *testing.T) {
	const block = 5000
	var want []byte
	ends := map[string]func(vfs.File) error{
		"sync":      vfs.File.Sync,
		"sync data": vfs.File.SyncData,
		"sync to":   func(f vfs.File) error { _, err := f.SyncTo(int64(len(want))); return err },
		"stat": func(f vfs.File) error {
			info, err := f.Stat()
			if err == nil && info.Size() != int64(len(want)) {
				t.Errorf("a table of %d bytes says it has %d", len(want), info.Size())
			}
			return err
		},
		"close": vfs.File.Close,
	}
	for name, end := range ends {
		mem := vfs.NewMem()
		disk := newFreezeFS(mem)
		f, err := disk.Create("000001"+tableExt, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		want = nil
		for i := range 2*tableWrite/block + 3 {
			p := bytes.Repeat([]byte{byte(i)}, block)
			if n, err := f.Write(p); n != len(p) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			want = append(want, p...)
		}
		if got := written(t, mem); len(got) < tableWrite || len(got) == len(want) {
			t.Errorf("%d of %d bytes were written before the end", len(got), len(want))
		}
		if err := end(f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := written(t, mem); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes were given, %d lie there", name, len(want), len(got))
		}
	}
}

func written(t *testing.T, fs vfs.FS) []byte {
	t.Helper()
	b, err := contents(fs, "000001"+tableExt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
