package store

import (
	"context"
	"errors"
	"math/rand/v2"
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

// TestDiskFaults lets one write after the other fail: the store answers with
// errors, never panics, and opened again it holds what it acknowledged.
func TestDiskFaults(t *testing.T) {
	failed := 0
	for n := int32(0); n < 400; n += 7 {
		mem := vfs.NewMem()
		ii := errorfs.OnIndex(n)
		inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
				return nil
			}
			return ii.MaybeError(op)
		})
		done, err := exercise(errorfs.Wrap(mem, inj))
		if err != nil {
			failed++
		}
		verify(t, mem, done)
	}
	if failed < 20 {
		t.Errorf("only %d runs met their fault", failed)
	}
}

// TestReadFaults does the same with reads.
func TestReadFaults(t *testing.T) {
	for n := int32(0); n < 60; n += 5 {
		mem := vfs.NewMem()
		ii := errorfs.OnIndex(n)
		inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return nil
			}
			return ii.MaybeError(op)
		})
		done, _ := exercise(errorfs.Wrap(mem, inj))
		verify(t, mem, done)
	}
}

// exercise puts, deletes, expires and purges, and returns what was
// acknowledged and must still be there.
func exercise(fs vfs.FS) (done []*Envelope, err error) {
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, a := context.Background(), address(1)
	if err := s.OpenMailbox(ctx, Grant{Address: a, ID: Ref{1}, Bytes: 64 << 20, Expiry: farExpiry, Proof: []byte("g")}); err != nil {
		return done, err
	}
	for round := range 3 {
		for i := range 8 {
			e := envelope(a, round*100+i, 64<<10, farExpiry)
			if _, err := s.Put(ctx, e); err != nil {
				return done, err
			}
			done = append(done, e)
		}
		if _, err := s.Put(ctx, envelope(a, round*100+50, 4096, testNow)); err != nil {
			return done, err
		}
		if _, err := s.ExpireBefore(ctx, testNow); err != nil {
			return done, err
		}
		if err := s.Purge(ctx); err != nil {
			return done, err
		}
	}
	return done, nil
}
