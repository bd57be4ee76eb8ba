package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func section(a Address) uint16 { return uint16(a[0] % 3) }

// ready opens a store on a file system, with three sections.
func ready(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Resection(context.Background(), section); err != nil {
		t.Fatal(err)
	}
	return s
}

func sums(s *Store, id uint16, bounds ...Bound) ([]Sum, error) {
	budget := ScanRows
	return s.Sums(id, bounds, &budget)
}

// counted is the sum of a range by reading every name.
func counted(t testing.TB, s *Store, id uint16, lo, hi Bound) (sum Sum) {
	t.Helper()
	budget := 1 << 30
	_, err := s.Names(id, lo, hi, &budget, func(n Name) bool {
		sum = sum.plus(sumOf(n.Append(nil)))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// randomBounds are bounds in order, most of them names' first bytes.
func randomBounds(rng *rand.Rand, names []Name) []Bound {
	bounds := []Bound{First, End, After(testNow)}
	for range 8 {
		b := names[rng.IntN(len(names))].Append(nil)
		bounds = append(bounds, Bound(b[:rng.IntN(len(b)+1)]))
	}
	slices.Sort(bounds)
	return bounds
}

// checkSums compares sums with what is there.
func checkSums(t testing.TB, s *Store, rng *rand.Rand, names []Name) {
	t.Helper()
	for id := range uint16(4) {
		bounds := randomBounds(rng, names)
		all, err := sums(s, id, bounds...)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range all {
			if want := counted(t, s, id, bounds[i], bounds[i+1]); got != want {
				t.Fatalf("section %d [%x, %x): %d names, want %d", id, bounds[i], bounds[i+1], got.Count, want.Count)
			}
		}
		for _, y := range s.summaries.sections {
			for i, l := range y.leaves {
				if l.sum.Count > leafMax || (i > 0 && y.leaves[i-1].lo >= l.lo) {
					t.Fatalf("leaf %d of %d names", i, l.sum.Count)
				}
			}
		}
	}
}

// TestSumsFollowTheStore changes a store at random, and opens it again.
func TestSumsFollowTheStore(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(4) {
		rng, fs := rand.New(rand.NewPCG(seed, 1)), vfs.NewMem()
		s := ready(t, fs)
		var names []Name
		for box := range 6 {
			a := address(box)
			grant(t, s, a, 1<<30)
			names = append(names, Name{farExpiry, KindGrant, a, sha256.Sum256(fmt.Appendf(nil, "%x grant of %d", a, 1<<30))})
		}
		now := testNow
		for range 900 {
			a := address(rng.IntN(6))
			switch k := rng.IntN(40); {
			case k == 0:
				now += uint64(rng.IntN(200))
				if _, err := s.ExpireBefore(ctx, now); err != nil {
					t.Fatal(err)
				}
			case k < 3 && len(names) > 20:
				d := Tombstone{Address: a, ID: Ref{byte(rng.Uint32()), byte(rng.Uint32())}, Expiry: farExpiry - uint64(rng.IntN(9)), Replica: true}
				for _, n := range names[len(names)-20:] {
					d.Digests = append(d.Digests, n.Ref)
				}
				if err := s.Delete(ctx, d); err != nil {
					t.Fatal(err)
				}
			default:
				e := envelope(a, rng.IntN(1<<30), 64, now+1+uint64(rng.IntN(3000)/1000*1000))
				put(t, s, e)
				names = append(names, Name{e.Expiry, KindEnvelope, a, e.Digest})
			}
		}
		checkSums(t, s, rng, names)
		before := counted(t, s, 1, First, End)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = ready(t, fs)
		checkSums(t, s, rng, names)
		if got, err := sums(s, 1, First, End); err != nil || got[0] != before || before.Count == 0 {
			t.Errorf("opened again: %d names, had %d, %v", got[0].Count, before.Count, err)
		}
		if err := s.Resection(ctx, func(a Address) uint16 { return uint16(a[1] % 2) }); err != nil {
			t.Fatal(err)
		}
		checkSums(t, s, rng, names)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSumsFollowConcurrentPuts lets sections change while others write.
func TestSumsFollowConcurrentPuts(t *testing.T) {
	s := ready(t, vfs.NewMem())
	defer s.Close()
	a, done := address(1), make(chan struct{})
	grant(t, s, a, 1<<30)
	go func() {
		defer close(done)
		for i := range 600 {
			put(t, s, envelope(a, i, 64, testExpiry))
		}
	}()
	for i := range 10 {
		if err := s.Resection(context.Background(), func(Address) uint16 { return uint16(i % 2) }); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	if got, err := sums(s, 1, First, End); err != nil || got[0] != counted(t, s, 1, First, End) || got[0].Count != 601 {
		t.Errorf("%d names, %v", got[0].Count, err)
	}
}

func TestSumsWaitForTheScan(t *testing.T) {
	s := ready(t, vfs.NewMem())
	defer s.Close()
	made := s.summaries.sections
	s.summaries.sections = nil
	if _, err := sums(s, 0, First, End); !errors.Is(err, ErrNotReady) {
		t.Errorf("sums: %v", err)
	}
	if _, err := s.Parts(0, First, End, 4); !errors.Is(err, ErrNotReady) {
		t.Errorf("parts: %v", err)
	}
	s.summaries.sections = made
	if _, err := sums(s, 0, End, First); !errors.Is(err, ErrOrder) {
		t.Errorf("bounds out of order: %v", err)
	}
}

// TestParts cuts ranges into ranges that are smaller, and few.
func TestParts(t *testing.T) {
	s := ready(t, vfs.NewMem())
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	var names []Name
	y := newSummary()
	f := newFiller(First)
	for i := range 5000 {
		names = append(names, Name{testNow + uint64(i/500), KindEnvelope, address(i), Ref{}})
	}
	slices.SortFunc(names, func(a, b Name) int { return slices.Compare(a.Append(nil), b.Append(nil)) })
	for _, n := range names {
		f.add(n.Append(nil))
	}
	y.leaves = f.leaves
	s.summaries.sections[0] = y
	for range 200 {
		bounds := randomBounds(rng, names)
		lo, hi := bounds[0], bounds[len(bounds)-1]
		cuts, err := s.Parts(0, lo, hi, 16)
		if err != nil || len(cuts) > 15 {
			t.Fatalf("%d cuts, %v", len(cuts), err)
		}
		all := append(append([]Bound{lo}, cuts...), hi)
		for i := 1; i < len(all); i++ {
			if all[i-1] >= all[i] {
				t.Fatalf("cuts out of order: %x, %x", all[i-1], all[i])
			}
		}
	}
	if cuts, err := s.Parts(0, First, End, 16); err != nil || len(cuts) != 15 {
		t.Errorf("%d cuts of all, %v", len(cuts), err)
	}
}

// BenchmarkOpenMillion is the scan that Open begins, in the background.
func BenchmarkOpenMillion(b *testing.B) {
	s := benchStore(b)
	for i := 0; i < 1_000_000; {
		batch := s.db.NewBatch()
		for range 10_000 {
			n := Name{testNow + uint64(i%336)*3600, KindEnvelope, address(i), address(-i)}
			if err := batch.Set(n.key(), nil, nil); err != nil {
				b.Fatal(err)
			}
			i++
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		if err := s.Resection(context.Background(), oneSection); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(s.summaries.sections[0].leaves)), "leaves")
}

func oneSection(Address) uint16 { return 0 }

// TestAskingForNothing asks for the names of sections that the store has nothing
// of, which anybody can do at no cost to themselves.
func TestAskingForNothing(t *testing.T) {
	s := open(t, vfs.NewCrashableMem())
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 1<<20)
	put(t, s, envelope(a, 1, 4096, farExpiry))
	nobody := func(Name) bool { t.Error("a name of another section"); return true }
	budget := ScanRows
	if _, err := s.Names(7, First, End, &budget, nobody); !errors.Is(err, ErrNotReady) {
		t.Errorf("without summaries: %v", err)
	}
	if err := s.Resection(ctx, oneSection); err != nil {
		t.Fatal(err)
	}
	if upTo, err := s.Names(7, First, End, &budget, nobody); err != nil || upTo != End {
		t.Errorf("%q, %v", upTo, err)
	}
	if budget != ScanRows {
		t.Errorf("read %d rows", ScanRows-budget)
	}
}
