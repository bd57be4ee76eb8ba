package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// acked is what a store has acknowledged at some moment.
type acked struct {
	mu sync.Mutex
	m  map[Digest]*Envelope
}

func (a *acked) add(e *Envelope) {
	a.mu.Lock()
	a.m[e.Digest] = e
	a.mu.Unlock()
}

func (a *acked) snapshot() []*Envelope {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*Envelope
	for _, e := range a.m {
		out = append(out, e)
	}
	return out
}

// TestCrash cuts the power again and again while four writers put, a fifth
// deletes and everything is flushed: what was acknowledged is there.
func TestCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	fs := vfs.NewCrashableMem()
	for round := range 12 {
		s, err := Open("store", Options{FS: fs})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		box := &acked{m: map[Digest]*Envelope{}}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		progress := make(chan struct{}, 1024)
		for w := range 4 {
			a := address(round*10 + w)
			grant(t, s, a, 64<<20)
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					e := envelope(a, i, 4096, farExpiry)
					if _, err := s.Put(context.Background(), e); err != nil {
						t.Error(err)
						return
					}
					box.add(e)
					select {
					case progress <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 20 + rng.IntN(400) {
			<-progress
		}
		if round%3 == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		before := box.snapshot()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: (round % 3) * 40, RNG: rng})
		close(stop)
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs = crashed
		verify(t, fs, before)
	}
}

func verify(t *testing.T, fs vfs.FS, want []*Envelope) {
	t.Helper()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatalf("open after crash: %v", err)
	}
	defer s.Close()
	for _, e := range want {
		r, err := s.Record(KindEnvelope, e.Address, e.Digest)
		if err != nil || string(r.Bytes) != string(e.Bytes) {
			t.Fatalf("acknowledged envelope lost: %v", err)
		}
	}
}

// history is a run of everything that a store does: what it acknowledged.
type history struct {
	mu      sync.Mutex
	kept    map[Digest]*Envelope
	deleted []*Envelope
}

func (h *history) put(e *Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept == nil {
		h.kept = map[Digest]*Envelope{}
	}
	h.kept[e.Digest] = e
}

// remove notes that an envelope is about to be deleted: until that is
// acknowledged it may be here or not.
func (h *history) remove(e *Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kept, e.Digest)
}

func (h *history) gone(e *Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deleted = append(h.deleted, e)
}

func (h *history) copy() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &history{kept: maps.Clone(h.kept), deleted: slices.Clone(h.deleted)}
}

// check opens what is left on a disk, and looks for what was acknowledged. All
// that is served is whole.
func (h *history) check(t *testing.T, fs vfs.FS) {
	t.Helper()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	defer s.Close()
	for _, e := range h.kept {
		r, err := s.Record(KindEnvelope, e.Address, e.Digest)
		if err != nil || !bytes.Equal(r.Bytes, e.Bytes) {
			t.Fatalf("acknowledged envelope lost: %v", err)
		}
	}
	for _, e := range h.deleted {
		if _, err := s.Record(KindEnvelope, e.Address, e.Digest); !errors.Is(err, ErrNotFound) {
			t.Fatalf("deleted envelope came back: %v", err)
		}
	}
	p, err := s.Fetch(address(1), 0, 0, 1000, maxPageBytes)
	if err != nil && !errors.Is(err, ErrNotOpen) {
		t.Fatal(err)
	}
	for _, it := range p.Items {
		if sha256.Sum256(it.Bytes) != it.Digest {
			t.Fatal("a torn envelope was served")
		}
	}
}

// exercise opens a mailbox, puts, deletes, expires and purges.
func exercise(fs vfs.FS, h *history) (err error) {
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, a := context.Background(), address(1)
	if err := s.OpenMailbox(ctx, Grant{Address: a, ID: Ref{1}, Bytes: 64 << 20, Expiry: farExpiry, Proof: []byte("g")}); err != nil {
		return err
	}
	for round := range 3 {
		var last *Envelope
		for i := range 6 {
			last = envelope(a, round*100+i, 5000, farExpiry)
			if _, err := s.Put(ctx, last); err != nil {
				return err
			}
			h.put(last)
		}
		if _, err := s.Put(ctx, envelope(a, round*100+50, 4096, testNow)); err != nil {
			return err
		}
		h.remove(last)
		if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{byte(round), 2}, Digests: []Digest{last.Digest}, Expiry: farExpiry}); err != nil {
			return err
		}
		h.gone(last)
		if _, err := s.ExpireBefore(ctx, testNow); err != nil {
			return err
		}
		if err := s.Purge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// TestPowerCuts records the disk before each change that reaches it, with what
// was acknowledged until then, and opens every one of these disks torn.
func TestPowerCuts(t *testing.T) {
	type moment struct {
		disk *vfs.MemFS
		h    *history
	}
	var mu sync.Mutex
	var moments []moment
	mem, rng, h := vfs.NewCrashableMem(), rand.New(rand.NewPCG(3, 4)), &history{}
	fs := &faultFS{FS: mem}
	fs.before = func(string) fault {
		mu.Lock()
		defer mu.Unlock()
		known := h.copy() // before the disk: what is acknowledged meanwhile need not be on it
		moments = append(moments, moment{tear(t, mem, "store", len(moments)%3, rng), known})
		return none
	}
	if err := exercise(fs, h); err != nil {
		t.Fatal(err)
	}
	if len(moments) < 100 {
		t.Errorf("only %d changes reached the disk", len(moments))
	}
	for _, m := range moments {
		m.h.check(t, m.disk)
	}
}

// TestDiskFaults lets each change of the disk fail in turn, by a full disk, half
// a write or an error: the store answers with errors, never panics, and what
// was synced holds all that it acknowledged. After an fsync that failed, later
// ones would succeed, and must not be believed.
func TestDiskFaults(t *testing.T) {
	kinds := []fault{full, short, broken}
	for n := 0; ; n++ {
		mem, h := vfs.NewCrashableMem(), &history{}
		var mu sync.Mutex
		op, kind := 0, ""
		fs := &faultFS{FS: mem, before: func(k string) fault {
			mu.Lock()
			defer mu.Unlock()
			if op++; op != n+1 {
				return none
			}
			kind = k
			return kinds[n%len(kinds)]
		}}
		err := exercise(fs, h)
		if kind == "" {
			if err != nil {
				t.Fatalf("no fault, and yet %v", err)
			}
			if n < 100 {
				t.Errorf("only %d changes reached the disk", n)
			}
			return
		}
		h.check(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	}
}

// TestReadFaults lets reads fail.
func TestReadFaults(t *testing.T) {
	for n := int32(0); n < 60; n += 5 {
		mem, h := vfs.NewMem(), &history{}
		ii := errorfs.OnIndex(n)
		inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return nil
			}
			return ii.MaybeError(op)
		})
		_ = exercise(errorfs.Wrap(mem, inj), h) // it may fail; what it acknowledged counts
		h.check(t, mem)
	}
}
