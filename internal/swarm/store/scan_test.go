package store

import (
	"bytes"
	"context"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestSalvageGoesAroundDamage spoils one block of a large mailbox's index after
// the other, the first one too: what lies before and behind is kept.
func TestSalvageGoesAroundDamage(t *testing.T) {
	const envelopes = 200
	disk, ctx, a := vfs.NewMem(), context.Background(), address(1)
	s, err := Open("store", Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	// The others' rows lie before and behind, so that no block has its grant too.
	all := []Address{a, address(2), address(3)}
	for _, x := range all {
		grant(t, s, x, 1<<20)
		for i := range envelopes {
			put(t, s, envelope(x, i, 100, farExpiry))
		}
	}
	slices.SortFunc(all, func(x, y Address) int { return bytes.Compare(x[:], y[:]) })
	a = all[1]
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first, middle := 0, 0
	for _, name := range must(disk.List("store")) {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		table := must(contents(disk, path.Join("store", name)))
		for at := 512; at < len(table); at += 2048 {
			fs, spoilt := copyStore(t, disk), bytes.Clone(table)
			spoilt[at] ^= 1
			rewrite(t, fs, path.Join("store", name), spoilt)
			before, behind := around(t, fs, a)
			if before+behind == 0 || before == envelopes {
				continue // another table's block
			}
			if before == 0 {
				first++
			} else if behind > 0 {
				middle++
			}
			if err := Repair(ctx, "store", Options{FS: fs}); err != nil {
				t.Fatal(err)
			}
			if kept, _ := around(t, fs, a); !verifyAt(t, fs).Sound() || kept != before+behind {
				t.Fatalf("byte %d: %d envelopes kept of %d before the damage and %d behind it", at, kept, before, behind)
			}
		}
	}
	if first == 0 || middle == 0 {
		t.Errorf("%d first blocks and %d others were spoilt", first, middle)
	}
}

// around counts the rows of a mailbox's index before what cannot be read, and
// behind it.
func around(t *testing.T, fs vfs.FS, a Address) (before, behind int) {
	t.Helper()
	s := newStore("store", Options{FS: copyStore(t, fs)})
	if err := s.openFor(true); err != nil {
		return 0, 0
	}
	defer s.closeEngine()
	lo := append([]byte{tabIndex}, a[:]...)
	it := must(s.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: upper(lo)}))
	for ok := it.First(); ok; ok = it.Next() {
		before++
	}
	if it.Close() == nil {
		return before, 0
	}
	it = must(s.db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: upper(lo)}))
	for ok := it.Last(); ok; ok = it.Prev() {
		behind++
	}
	if it.Close() == nil {
		return 0, 0 // a neighbour's block
	}
	return before, behind
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
