package store

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDiskFillsDuringPurge fills the disk at each step of a purge: the purge
// ends, what was acknowledged stays readable, and the store goes on by itself
// when there is room.
func TestDiskFillsDuringPurge(t *testing.T) {
	for step := int32(1); ; step += 7 {
		reached := false
		synctest.Test(t, func(t *testing.T) { reached = purgeUntil(t, step) })
		if t.Failed() || !reached {
			return
		}
	}
}

// purgeUntil reports whether a purge has so many steps.
func purgeUntil(t *testing.T, step int32) bool {
	var steps atomic.Int32
	var armed atomic.Bool
	fs := &faultFS{FS: vfs.NewCrashableMem(), before: func(op string) fault {
		if op != "remove" && armed.Load() && steps.Add(1) >= step {
			return full
		}
		return none
	}}
	s := open(t, fs)
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 8<<20)
	var doomed []Digest
	for i := range 20 {
		e := envelope(a, i, 64<<10, farExpiry)
		put(t, s, e)
		if i%2 == 0 {
			doomed = append(doomed, e.Digest)
		}
	}
	if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{1}, Digests: doomed, Expiry: farExpiry}); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	err := s.Purge(ctx)
	synctest.Wait()
	filled := steps.Load() >= step
	if err == nil && !filled {
		return false
	}
	if n := len(fetchAll(t, s, a)); n != 10 {
		t.Errorf("step %d: %d envelopes readable, want 10", step, n)
	}
	armed.Store(false)
	time.Sleep(2 * roomPollMax)
	synctest.Wait()
	put(t, s, envelope(a, 100, 4096, farExpiry))
	if err := s.Purge(ctx); err != nil {
		t.Errorf("step %d: purge with room: %v", step, err)
	}
	return true
}
