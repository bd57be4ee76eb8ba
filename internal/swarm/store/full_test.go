package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// openOn opens a store on a disk whose writes fail with *what.
func openOn(t *testing.T, what *atomic.Int32) (*Store, *faultFS) {
	t.Helper()
	fs := &faultFS{FS: vfs.NewCrashableMem(), before: func(op string) fault {
		if op == "remove" {
			return none
		}
		return fault(what.Load())
	}}
	return open(t, fs), fs
}

// TestLowDisk: below the reserve nothing new is stored, and what makes room
// goes on.
func TestLowDisk(t *testing.T) {
	s, fs := openOn(t, new(atomic.Int32))
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 1<<20)
	e, late := envelope(a, 1, 4096, testExpiry), envelope(a, 2, 4096, farExpiry)
	put(t, s, e)
	put(t, s, late)
	fs.setAvail(defaultReserve - 1)
	next := envelope(a, 3, 4096, farExpiry)
	if _, err := s.Put(ctx, next); !errors.Is(err, ErrFull) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Check(next); !errors.Is(err, ErrFull) {
		t.Errorf("check: %v", err)
	}
	if err := s.OpenMailbox(ctx, Grant{Address: address(2), ID: Ref{1}, Bytes: 1, Expiry: farExpiry}); !errors.Is(err, ErrFull) {
		t.Errorf("grant: %v", err)
	}
	if st, err := s.Put(ctx, late); err != nil || st.Fresh {
		t.Errorf("a repeat is answered as ever: %v", err)
	}
	if n := len(fetchAll(t, s, a)); n != 2 {
		t.Errorf("fetched %d", n)
	}
	if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{9}, Digests: []Digest{late.Digest}, Expiry: farExpiry}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if n, err := s.ExpireBefore(ctx, testExpiry); err != nil || n != 1 {
		t.Errorf("expired %d, %v", n, err)
	}
	if err := s.Purge(ctx); err != nil {
		t.Errorf("purge: %v", err)
	}
	fs.setAvail(defaultReserve)
	put(t, s, next)
}

// TestFullDisk: a disk that fills up under the engine costs nothing that was
// acknowledged, leaves the mailboxes readable, and is got over by itself.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var what atomic.Int32
		s, fs := openOn(t, &what)
		ctx, a := context.Background(), address(1)
		grant(t, s, a, 1<<20)
		for i := range 3 {
			put(t, s, envelope(a, i, 4096, farExpiry))
		}
		if err := s.Resection(ctx, oneSection); err != nil {
			t.Fatal(err)
		}
		before := fetchAll(t, s, a)
		lost := envelope(a, 3, 4096, farExpiry)
		for _, kind := range []fault{full, short} {
			what.Store(int32(kind)) // and the file system does not say that it is full
			fs.setAvail(0)
			if _, err := s.Put(ctx, lost); !errors.Is(err, ErrFull) {
				t.Fatalf("put on a full disk: %v", err)
			}
			synctest.Wait()
			if !s.readOnly {
				t.Fatalf("the store does not know that it is full: %v", s.Err())
			}
			if got := fetchAll(t, s, a); len(got) < len(before) || got[0].Seq != before[0].Seq {
				t.Errorf("%d envelopes readable while full, want %d", len(got), len(before))
			}
			for name, err := range map[string]error{
				"delete": s.Delete(ctx, Tombstone{Address: a, ID: Ref{9}, Expiry: farExpiry}),
				"purge":  s.Purge(ctx),
			} {
				if !errors.Is(err, ErrFull) {
					t.Errorf("%s on a full disk: %v", name, err)
				}
			}
			time.Sleep(10 * time.Minute) // each attempt fails
			fs.setAvail(1)
			time.Sleep(10 * time.Minute) // no attempt is worth making
			what.Store(int32(none))
			fs.setAvail(1 << 40)
			time.Sleep(2 * roomPollMax)
			synctest.Wait()
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			put(t, s, envelope(a, 10+int(kind), 4096, farExpiry))
			<-s.Summarised()
			// What the engine knows now may be more than was acknowledged.
			if got, err := sums(s, 0, First, End); err != nil || got[0] != counted(t, s, 0, First, End) {
				t.Errorf("the sums of %d names are not those of the store, %v", got[0].Count, err)
			}
		}
		select {
		case <-s.Failed():
			t.Error("a full disk counts as a failure")
		default:
		}
		// What comes after an opening comes behind all that was shown before it.
		after := fetchAll(t, s, a)
		if last := after[len(after)-1]; last.Seq>>seqBits <= before[0].Seq>>seqBits {
			t.Errorf("sequence %d after an opening, %d before", last.Seq, before[0].Seq)
		}
	})
}

// TestFullAtStart: a store on a full disk opens for reading.
func TestFullAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var what atomic.Int32
		s, fs := openOn(t, &what)
		grant(t, s, address(1), 1<<20)
		put(t, s, envelope(address(1), 1, 4096, farExpiry))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		what.Store(int32(full))
		fs.setAvail(1)
		s = open(t, fs)
		if n := len(fetchAll(t, s, address(1))); n != 1 {
			t.Errorf("%d envelopes readable", n)
		}
		what.Store(int32(none))
		fs.setAvail(1 << 40)
		time.Sleep(2 * roomPollMax)
		synctest.Wait()
		put(t, s, envelope(address(1), 2, 4096, farExpiry))
	})
}

// TestDiskErrorEndsTheStore: any other error is not got over.
func TestDiskErrorEndsTheStore(t *testing.T) {
	var what atomic.Int32
	s, _ := openOn(t, &what)
	grant(t, s, address(1), 1<<20)
	what.Store(int32(broken))
	if _, err := s.Put(context.Background(), envelope(address(1), 1, 4096, farExpiry)); !errors.Is(err, ErrFailed) {
		t.Errorf("put: %v", err)
	}
	what.Store(int32(none))
	if _, err := s.Put(context.Background(), envelope(address(1), 1, 4096, farExpiry)); !errors.Is(err, ErrFailed) {
		t.Errorf("put after a failed sync: %v", err)
	}
	<-s.Failed()
	if err := s.Err(); !errors.Is(err, ErrFailed) {
		t.Errorf("told: %v", err)
	}
}
