package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testNow    = uint64(1_800_000_000)
	testExpiry = testNow + 5000
	farExpiry  = testNow + 30*86400
)

func address(n int) Address { return sha256.Sum256(fmt.Appendf(nil, "mailbox %d", n)) }

// envelope is a random-looking envelope that is the same for the same n.
func envelope(a Address, n, size int, expiry uint64) *Envelope {
	var seed [32]byte
	copy(seed[:], a[:])
	binary.BigEndian.PutUint64(seed[24:], uint64(n))
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return &Envelope{Address: a, Digest: sha256.Sum256(b), Expiry: expiry, Proof: []byte("proof"), Bytes: b}
}

func open(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func grant(t testing.TB, s *Store, a Address, bytes uint64) {
	t.Helper()
	id := sha256.Sum256(fmt.Appendf(nil, "%x grant of %d", a, bytes))
	if err := s.OpenMailbox(context.Background(), Grant{Address: a, ID: id, Bytes: bytes, Expiry: farExpiry, Proof: []byte("grant")}); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, s *Store, e *Envelope) Stored {
	t.Helper()
	out, err := s.Put(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func fetchAll(t testing.TB, s *Store, a Address) []Item {
	t.Helper()
	p, err := s.Fetch(a, 0, 0, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return p.Items
}

func TestPutFetch(t *testing.T) {
	s := open(t, vfs.NewMem())
	a, b := address(1), address(2)
	grant(t, s, a, 1<<20)
	grant(t, s, b, 1<<20)
	for i := range 10 {
		if !put(t, s, envelope(a, i, 4096, testExpiry)).Fresh {
			t.Fatal("not fresh")
		}
	}
	put(t, s, envelope(b, 1, 4096, testExpiry))
	if put(t, s, envelope(a, 3, 4096, testExpiry)).Fresh {
		t.Error("the same envelope is fresh twice")
	}
	p, err := s.Fetch(a, 0, 0, 4, 1<<20)
	if err != nil || len(p.Items) != 4 || !p.More {
		t.Fatalf("first page: %d items, more %v, %v", len(p.Items), p.More, err)
	}
	q, err := s.Fetch(a, p.Generation, p.Next, 100, 1<<20)
	if err != nil || len(q.Items) != 6 || q.More {
		t.Fatalf("second page: %d items, more %v, %v", len(q.Items), q.More, err)
	}
	for i, it := range append(p.Items, q.Items...) {
		if want := envelope(a, i, 4096, testExpiry); it.Digest != want.Digest || string(it.Bytes) != string(want.Bytes) {
			t.Errorf("item %d differs", i)
		}
	}
	if _, err := s.Put(context.Background(), envelope(a, 3, 4096, testExpiry+1)); !errors.Is(err, ErrConflict) {
		t.Errorf("another expiry: %v", err)
	}
	if r, _ := s.Fetch(a, p.Generation+1, q.Next, 100, 1<<20); len(r.Items) != 10 {
		t.Errorf("a foreign generation gave %d items, want all", len(r.Items))
	}
	if r, _ := s.Fetch(a, 0, 0, 100, 1); len(r.Items) != 1 || !r.More {
		t.Error("a page always has one item")
	}
	if _, err := s.Fetch(address(3), 0, 0, 1, 1); !errors.Is(err, ErrNotOpen) {
		t.Errorf("unknown mailbox: %v", err)
	}
	if got := s.Stats(); got.Envelopes != 11 || got.Bytes != 11*4096 {
		t.Errorf("stats %+v", got)
	}
}

func TestRoom(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem(), MaxBytes: 5 * 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, a := context.Background(), address(1)
	if _, err := s.Put(ctx, envelope(a, 0, 4096, testExpiry)); !errors.Is(err, ErrNotOpen) {
		t.Errorf("not open: %v", err)
	}
	grant(t, s, a, 2*4096)
	grant(t, s, a, 2*4096) // the same grant counts once
	put(t, s, envelope(a, 0, 4096, testExpiry))
	put(t, s, envelope(a, 1, 4096, testExpiry))
	e := envelope(a, 2, 4096, testExpiry)
	if _, err := s.Put(ctx, e); !errors.Is(err, ErrQuota) {
		t.Errorf("quota: %v", err)
	}
	e.Replica = true
	put(t, s, e)
	if _, err := s.Put(ctx, envelope(a, 3, 4096, farExpiry+1)); !errors.Is(err, ErrTooLate) {
		t.Errorf("outlives its mailbox: %v", err)
	}
	grant(t, s, address(2), 1<<20)
	put(t, s, envelope(address(2), 1, 2*4096, testExpiry))
	if _, err := s.Put(ctx, envelope(address(2), 2, 4096, testExpiry)); !errors.Is(err, ErrFull) {
		t.Errorf("store full: %v", err)
	}
	if _, err := s.Put(ctx, envelope(address(2), 2, MaxEnvelope+1, testExpiry)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestTheLargestGrantCounts(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx, a := context.Background(), address(1)
	for i, g := range []Grant{{Bytes: 5000, Expiry: testNow + 100}, {Bytes: 9000, Expiry: testNow + 10}, {Bytes: 9, Expiry: testNow + 200}} {
		g.Address, g.ID = a, Ref{byte(i)}
		if err := s.OpenMailbox(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ at, bytes, expiry uint64 }{
		{testNow, 9000, testNow + 200}, {testNow + 10, 5000, testNow + 200}, {testNow + 100, 9, testNow + 200},
	} {
		if _, err := s.ExpireBefore(ctx, step.at); err != nil {
			t.Fatal(err)
		}
		if b, x, err := s.Mailbox(a); err != nil || b != step.bytes || x != step.expiry {
			t.Errorf("at %d: %d bytes until %d, %v", step.at, b, x, err)
		}
	}
	if _, err := s.ExpireBefore(ctx, testNow+200); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Mailbox(a); !errors.Is(err, ErrNotOpen) {
		t.Errorf("after the last grant: %v", err)
	}
}

func TestTombstoneWins(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 1<<20)
	here, later := envelope(a, 1, 4096, testExpiry), envelope(a, 2, 4096, testExpiry)
	put(t, s, here)
	d := Tombstone{Address: a, ID: Ref{1}, Digests: []Digest{here.Digest, later.Digest, here.Digest}, Expiry: testExpiry}
	for range 2 {
		if err := s.Delete(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []*Envelope{here, later} {
		if out := put(t, s, e); out.Fresh || !out.Deleted {
			t.Errorf("deleted envelope came back: %+v", out)
		}
	}
	if n := len(fetchAll(t, s, a)); n != 0 {
		t.Errorf("%d items left", n)
	}
	if got := s.Stats(); got != (Stats{}) {
		t.Errorf("stats %+v", got)
	}
	if _, err := s.ExpireBefore(ctx, farExpiry); err != nil {
		t.Fatal(err)
	}
	if ok, _ := s.Has(KindEnvelope, a, here.Digest); ok {
		t.Error("tombstone's rows stay for ever")
	}
}

// TestDeletedOutlivesItsTombstone copies a tombstone that ends before its
// envelopes do, of which one is here, one comes later and one comes too late.
func TestDeletedOutlivesItsTombstone(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 1<<20)
	here, later, never := envelope(a, 1, 4096, testExpiry), envelope(a, 2, 4096, testExpiry), envelope(a, 3, 4096, testExpiry)
	put(t, s, here)
	d := Tombstone{Address: a, ID: Ref{1}, Digests: []Digest{here.Digest, later.Digest, never.Digest}, Expiry: testNow + 100}
	if err := s.Delete(ctx, d); !errors.Is(err, ErrTooLate) {
		t.Fatalf("a client's: %v", err)
	}
	d.Replica = true
	if err := s.Delete(ctx, d); err != nil {
		t.Fatal(err)
	}
	if !put(t, s, later).Deleted {
		t.Error("deleted before it came, and stored")
	}
	if _, err := s.ExpireBefore(ctx, testNow+100); err != nil {
		t.Fatal(err)
	}
	if ok, _ := s.Has(KindTombstone, a, d.ID); ok {
		t.Error("the tombstone lasts longer than it says")
	}
	for _, e := range []*Envelope{here, later} {
		if !put(t, s, e).Deleted {
			t.Error("deleted, and back after the tombstone's end")
		}
	}
	longer := Tombstone{Address: a, ID: Ref{2}, Digests: []Digest{here.Digest}, Expiry: testExpiry + 50}
	if err := s.Delete(ctx, longer); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExpireBefore(ctx, testExpiry); err != nil {
		t.Fatal(err)
	}
	if ok, _ := s.Has(KindEnvelope, a, here.Digest); !ok {
		t.Error("the first marker's end took the second one's away")
	}
	if ok, _ := s.Has(KindEnvelope, a, later.Digest); ok {
		t.Error("a marker stays for ever")
	}
}

// TestTombstonesNeedRoom deletes what never was, as often as it goes.
func TestTombstonesNeedRoom(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx, a := context.Background(), address(1)
	stone := func(n int, digests ...Digest) Tombstone {
		if len(digests) == 0 {
			digests = make([]Digest, MaxTombstoneDigests)
			for i := range digests {
				digests[i] = Digest{byte(i), byte(n)}
			}
		}
		return Tombstone{Address: a, ID: Ref{byte(n)}, Digests: digests, Expiry: testExpiry, Proof: []byte("proof")}
	}
	if err := s.Delete(ctx, stone(0)); !errors.Is(err, ErrNotOpen) {
		t.Errorf("tombstone in no mailbox: %v", err)
	}
	grant(t, s, a, 64<<10)
	kept, copies := 0, 0
	for n := range 200 {
		switch err := s.Delete(ctx, stone(n)); {
		case err == nil:
			kept++
		case !errors.Is(err, ErrQuota):
			t.Fatal(err)
		}
	}
	for n := range 200 {
		d := stone(n)
		d.Replica = true
		if s.Delete(ctx, d) == nil {
			copies++
		}
	}
	if kept == 0 || kept > 4 || copies > 6 {
		t.Errorf("%d tombstones and %d copies in a mailbox of 64 KiB", kept, copies)
	}
	// A full mailbox can be emptied: what a tombstone frees counts.
	grant(t, s, address(2), 64<<10)
	a = address(2)
	for n := range 16 {
		put(t, s, envelope(a, n, 4096, testExpiry))
	}
	for n := range 16 {
		if err := s.Delete(ctx, stone(n, envelope(a, n, 4096, testExpiry).Digest)); err != nil {
			t.Fatalf("tombstone %d: %v", n, err)
		}
	}
	// The room comes back with the end of the tombstones.
	if _, err := s.ExpireBefore(ctx, testExpiry); err != nil {
		t.Fatal(err)
	}
	for n := range 16 {
		put(t, s, envelope(a, 100+n, 4096, farExpiry))
	}
}

func TestRecords(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 1<<20)
	e := envelope(a, 1, 4096, testExpiry)
	put(t, s, e)
	put(t, s, envelope(a, 2, 4096, farExpiry))
	if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{9}, Digests: []Digest{{1}}, Expiry: farExpiry, Proof: []byte("stone")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Resection(ctx, oneSection); err != nil {
		t.Fatal(err)
	}
	names := func() (names []Name) {
		budget := ScanRows
		if next, err := s.Names(0, First, End, &budget, func(n Name) bool { names = append(names, n); return true }); err != nil || next != End {
			t.Fatalf("names: until %x, %v", next, err)
		}
		return names
	}
	var kinds []Kind
	for _, x := range names() {
		kinds = append(kinds, x.Kind)
		if r, err := s.Record(x.Kind, x.Address, x.Ref); err != nil || r.Expiry != x.Expiry || len(r.Proof) == 0 {
			t.Errorf("record of %+v: %v", x, err)
		}
	}
	if fmt.Sprint(kinds) != "[2 1 2 3]" {
		t.Errorf("names of kinds %v", kinds)
	}
	if n, err := s.ExpireBefore(ctx, testExpiry); err != nil || n != 1 {
		t.Fatalf("expired %d, %v", n, err)
	}
	if n := len(names()); n != 3 {
		t.Errorf("%d names after expiry, want 3", n)
	}
	if _, err := s.Record(KindEnvelope, a, e.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("expired record: %v", err)
	}
}

func TestReopen(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	a := address(1)
	grant(t, s, a, 1<<20)
	put(t, s, envelope(a, 1, 4096, testExpiry))
	p, _ := s.Fetch(a, 0, 0, 10, 1<<20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(context.Background(), envelope(a, 2, 4096, testExpiry)); !errors.Is(err, ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
	s = open(t, fs)
	put(t, s, envelope(a, 2, 4096, testExpiry))
	if q, err := s.Fetch(a, p.Generation, p.Next, 10, 1<<20); err != nil || len(q.Items) != 1 {
		t.Errorf("resumed with %d items, %v", len(q.Items), err)
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if err := s.db.Set(keyState, []byte{formatVersion + 1}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if _, err := Open("store", Options{FS: fs}); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedRowIsNotGivenOut(t *testing.T) {
	s := open(t, vfs.NewMem())
	a := address(1)
	grant(t, s, a, 1<<20)
	e := envelope(a, 1, 4096, testExpiry)
	put(t, s, e)
	row := encodeEnvelopeRow(e)
	row[len(row)-1] ^= 1
	seq := fetchAll(t, s, a)[0].Seq
	if err := s.db.Set(keyEnvelope(e.Expiry, a, seq), row, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(a, 0, 0, 10, 1<<20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentPuts(t *testing.T) {
	s := open(t, vfs.NewMem())
	var wg sync.WaitGroup
	for m := range 4 {
		a := address(m)
		grant(t, s, a, 1<<22)
		for i := range 50 {
			wg.Go(func() {
				if _, err := s.Put(context.Background(), envelope(a, i, 4096, testExpiry)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for m := range 4 {
		seen := map[Digest]bool{}
		for _, it := range fetchAll(t, s, address(m)) {
			seen[it.Digest] = true
		}
		if len(seen) != 50 {
			t.Errorf("mailbox %d has %d envelopes", m, len(seen))
		}
	}
}

// TestHintsAreBounded also opens the store again: the bound holds on.
func TestHintsAreBounded(t *testing.T) {
	fs, ctx, a := vfs.NewMem(), context.Background(), address(1)
	s := open(t, fs)
	hint := func(node byte, n int) Hint {
		return Hint{Node{node}, Name{testExpiry, KindEnvelope, a, Ref{byte(n), byte(n >> 8)}}}
	}
	var many []Hint
	for n := range MaxHints - 1 {
		many = append(many, hint(1, n))
	}
	if err := s.AddHints(ctx, append(many, many...)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs)
	if err := s.AddHints(ctx, []Hint{hint(1, MaxHints), hint(1, MaxHints+1), hint(2, 1)}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Hints(Node{1}, 2*MaxHints)
	if err != nil || len(got) != MaxHints {
		t.Errorf("%d hints, want %d, %v", len(got), MaxHints, err)
	}
	if few, err := s.Hints(Node{1}, 3); err != nil || len(few) != 3 || few[0] != got[0] {
		t.Errorf("%d hints of 3, %v", len(few), err)
	}
	if err := s.DropHints(ctx, got[:10]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExpireBefore(ctx, testExpiry-1); err != nil {
		t.Fatal(err)
	}
	if left, err := s.Hints(Node{1}, 2*MaxHints); err != nil || len(left) != MaxHints-10 {
		t.Errorf("%d hints left, %v", len(left), err)
	}
	if _, err := s.ExpireBefore(ctx, testExpiry); err != nil {
		t.Fatal(err)
	}
	for _, node := range []Node{{1}, {2}} {
		if left, err := s.Hints(node, 1); err != nil || len(left) != 0 {
			t.Errorf("%d hints after expiry, %v", len(left), err)
		}
	}
}

// TestCursorOfAnotherLife: a folder restored from a copy, on a machine whose
// clock was set back, gives sequences that lie below what a reader has seen of
// the life that the copy knows nothing of. Nothing new is passed over for that.
func TestCursorOfAnotherLife(t *testing.T) {
	fs := vfs.NewCrashableMem()
	at := func(fs vfs.FS, unix int64) *Store {
		s, err := Open("store", Options{FS: fs, Now: func() time.Time { return time.Unix(unix, 0) }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s, a := at(fs, 1000), address(1)
	grant(t, s, a, 1<<20)
	put(t, s, envelope(a, 1, 4096, farExpiry))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := fs.CrashClone(vfs.CrashCloneCfg{})
	s = at(fs, 5000)
	put(t, s, envelope(a, 2, 4096, farExpiry))
	seen, err := s.Fetch(a, 0, 0, 10, 1<<20)
	if err != nil || len(seen.Items) != 2 {
		t.Fatalf("%d envelopes, %v", len(seen.Items), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = at(copied, 10)
	defer s.Close()
	e := envelope(a, 3, 4096, farExpiry)
	put(t, s, e)
	page, err := s.Fetch(a, seen.Generation, seen.Next, 10, 1<<20)
	if err != nil || !slices.ContainsFunc(page.Items, func(it Item) bool { return it.Digest == e.Digest }) {
		t.Errorf("a new envelope is passed over: %d envelopes, %v", len(page.Items), err)
	}
}
