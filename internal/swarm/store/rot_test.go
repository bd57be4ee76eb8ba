package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// filled returns the disk of a closed store with mailboxes, deletions and rows
// in tables as well as in a log, and the envelopes in it.
func filled(t *testing.T) (*vfs.MemFS, []*Envelope) {
	t.Helper()
	fs, ctx := vfs.NewMem(), context.Background()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var kept []*Envelope
	for m := range 8 {
		a := address(m)
		grant(t, s, a, 1<<20)
		for i := range 6 {
			e := envelope(a, i, 3000, farExpiry-uint64(i)*bucketSeconds)
			put(t, s, e)
			if i == 2 {
				if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{byte(m)}, Digests: []Digest{e.Digest}, Expiry: farExpiry, Proof: []byte("stone")}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			kept = append(kept, e)
		}
		if m%3 == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, kept
}

func verifyAt(t *testing.T, fs vfs.FS) Report {
	t.Helper()
	r, err := Verify(context.Background(), "store", Options{FS: fs}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifySound(t *testing.T) {
	fs, kept := filled(t)
	r := verifyAt(t, fs)
	if !r.Sound() || r.Mailboxes != 8 || r.Grants != 8 || r.Tombstones != 8 || int(r.Envelopes) != len(kept) || int(r.Bytes) != 3000*len(kept) {
		t.Errorf("%+v", r)
	}
	if _, err := Verify(context.Background(), "nowhere", Options{FS: fs}, nil); err == nil {
		t.Error("a store that is not there is sound")
	}
	s := open(t, fs)
	if _, err := Verify(context.Background(), "store", Options{FS: fs}, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a store in use: %v", err)
	}
	if err := Repair(context.Background(), "store", Options{FS: fs}); !errors.Is(err, ErrInUse) {
		t.Errorf("repairing a store in use: %v", err)
	}
	put(t, s, kept[0])
}

// TestVerifyFindsFaults spoils one row at a time, and repairs it.
func TestVerifyFindsFaults(t *testing.T) {
	a := address(1)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *Store, e *Envelope, seq uint64)
		want  Fault
	}{
		"envelope": {func(t *testing.T, s *Store, e *Envelope, seq uint64) {
			row := encodeEnvelopeRow(e)
			row[len(row)-1] ^= 1
			set(t, s, keyEnvelope(e.Expiry, a, seq), row)
		}, FaultChecksum},
		"envelope gone": {func(t *testing.T, s *Store, e *Envelope, seq uint64) { set(t, s, keyEnvelope(e.Expiry, a, seq), nil) }, FaultMissing},
		"index":         {func(t *testing.T, s *Store, _ *Envelope, seq uint64) { set(t, s, keyIndex(a, seq), []byte{1}) }, FaultRow},
		"index gone":    {func(t *testing.T, s *Store, _ *Envelope, seq uint64) { set(t, s, keyIndex(a, seq), nil) }, FaultStray},
		"digest":        {func(t *testing.T, s *Store, e *Envelope, _ uint64) { set(t, s, keyDigest(a, e.Digest), []byte{1}) }, FaultRow},
		"digest gone":   {func(t *testing.T, s *Store, e *Envelope, _ uint64) { set(t, s, keyDigest(a, e.Digest), nil) }, FaultMissing},
		"record gone": {func(t *testing.T, s *Store, e *Envelope, _ uint64) {
			set(t, s, Name{e.Expiry, KindEnvelope, a, e.Digest}.key(), nil)
		}, FaultMissing},
		"record": {func(t *testing.T, s *Store, e *Envelope, _ uint64) {
			set(t, s, Name{e.Expiry, KindTombstone, a, e.Digest}.key(), []byte{})
		}, FaultMissing},
		"mailbox": {func(t *testing.T, s *Store, _ *Envelope, _ uint64) {
			set(t, s, keyMailbox(a), mailboxRow{generation: 1, nextSeq: 1}.encode())
		}, FaultCount},
		"mailbox gone": {func(t *testing.T, s *Store, _ *Envelope, _ uint64) { set(t, s, keyMailbox(a), nil) }, FaultMissing},
		"grant":        {func(t *testing.T, s *Store, _ *Envelope, _ uint64) { set(t, s, keyGrant(a, Ref{7}), []byte{1}) }, FaultRow},
		"tombstone":    {func(t *testing.T, s *Store, _ *Envelope, _ uint64) { set(t, s, keyTombstone(a, Ref{1}), []byte{1}) }, FaultRow},
		"state": {func(t *testing.T, s *Store, _ *Envelope, _ uint64) {
			st := s.state
			st.bytes++
			set(t, s, keyState, st.encode())
		}, FaultCount},
	} {
		fs, kept := filled(t)
		s, err := Open("store", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		it := fetchAll(t, s, a)[1]
		e := envelope(a, 1, 3000, it.Expiry)
		c.spoil(t, s, e, it.Seq)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if r := verifyAt(t, fs); r.Faults[c.want] == 0 {
			t.Errorf("%s: found %v, want %s", name, r.Faults, c.want)
		}
		if err := Repair(context.Background(), "store", Options{FS: fs}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r := verifyAt(t, fs); !r.Sound() {
			t.Errorf("%s: repaired, and yet %v", name, r.Faults)
		}
		refill(t, fs, kept)
		if err := Repair(context.Background(), "store", Options{FS: fs}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: the store that was set aside would be overwritten: %v", name, err)
		}
	}
}

func set(t *testing.T, s *Store, key, value []byte) {
	t.Helper()
	var err error
	if value == nil {
		err = s.db.Delete(key, pebble.Sync)
	} else {
		err = s.db.Set(key, value, pebble.Sync)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refill does what other members do, and expects all then to be served.
func refill(t *testing.T, fs vfs.FS, kept []*Envelope) {
	t.Helper()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refillStore(t, s, kept)
}

func refillStore(t *testing.T, s *Store, kept []*Envelope) {
	t.Helper()
	for m := range 8 {
		grant(t, s, address(m), 1<<20)
	}
	for _, e := range kept {
		put(t, s, e)
	}
	for _, e := range kept {
		if r, err := s.Record(KindEnvelope, e.Address, e.Digest); err != nil || !bytes.Equal(r.Bytes, e.Bytes) {
			t.Fatalf("not served after the repair: %v", err)
		}
	}
}

// TestBitRot flips bits in every file of a store that is closed. Whatever
// becomes of it, no byte that is served is wrong, and a repair leaves a sound
// store that others can fill again. Behind a flip in the last log all counts as
// torn off, since the engine cannot tell: that too comes back from others.
func TestBitRot(t *testing.T) {
	disk, kept := filled(t)
	names, err := disk.List("store")
	if err != nil {
		t.Fatal(err)
	}
	rng, found, without := rand.New(rand.NewPCG(5, 6)), map[string]int{}, 0
	for _, name := range names {
		whole, err := contents(disk, disk.PathJoin("store", name))
		if err != nil {
			t.Fatal(err)
		}
		for range min(4, len(whole)) {
			fs := copyStore(t, disk)
			b := bytes.Clone(whole)
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			rewrite(t, fs, fs.PathJoin("store", name), b)
			r, err := Verify(context.Background(), "store", Options{FS: fs}, nil)
			if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%s: %v", name, err)
			}
			kind := kindOf(name)
			switch {
			case err != nil || !r.Sound(), kind == "log" && int(r.Envelopes) < len(kept):
				found[kind]++
			case int(r.Envelopes) == len(kept):
				without++ // a byte that nobody needs
				continue
			default:
				t.Fatalf("%s: %d of %d envelopes, and nothing found", name, r.Envelopes, len(kept))
			}
			servesNothingWrong(t, copyStore(t, fs))
			if err := Repair(context.Background(), "store", Options{FS: fs}); err != nil {
				t.Fatalf("%s: repair: %v", name, err)
			}
			if r := verifyAt(t, fs); !r.Sound() {
				t.Fatalf("%s: repaired, and yet %v", name, r.Faults)
			}
			refill(t, fs, kept)
		}
	}
	for _, kind := range []string{"sst", "log", "MANIFEST"} {
		if found[kind] == 0 {
			t.Errorf("no flip in a %s was found: %v", kind, found)
		}
	}
	t.Logf("flips found %v, without effect %d", found, without)
}

func kindOf(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 && !strings.HasPrefix(name, "marker") {
		return name[i+1:]
	}
	kind, _, _ := strings.Cut(name, "-")
	return kind
}

func copyStore(t *testing.T, fs vfs.FS) *vfs.MemFS {
	t.Helper()
	out := vfs.NewMem()
	if ok, err := vfs.Clone(fs, out, "store", "store"); err != nil || !ok {
		t.Fatal(err)
	}
	return out
}

// servesNothingWrong reads what it can of a store that was not repaired.
func servesNothingWrong(t *testing.T, fs vfs.FS) {
	t.Helper()
	s := newStore("store", Options{FS: fs})
	if err := s.openFor(true); err != nil {
		return
	}
	defer s.closeEngine()
	for m := range 8 {
		p, err := s.Fetch(address(m), 0, 0, 100, maxPageBytes)
		if err != nil {
			continue
		}
		for _, it := range p.Items {
			if !wellKnown(address(m), it) {
				t.Fatal("a wrong envelope was served")
			}
		}
	}
}

func wellKnown(a Address, it Item) bool {
	for i := range 6 {
		if e := envelope(a, i, 3000, it.Expiry); e.Digest == it.Digest {
			return bytes.Equal(e.Bytes, it.Bytes) && sha256.Sum256(it.Bytes) == it.Digest
		}
	}
	return false
}

// TestRepairWhileRunning spoils an envelope under a running store: it is never
// served, the store repairs itself, mailboxes that lost nothing keep their
// cursors, and the one that did begins anew.
func TestRepairWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, kept := filled(t)
		s := open(t, fs)
		hurt, fine := address(1), address(2)
		before := map[Address]Page{}
		for _, a := range []Address{hurt, fine} {
			before[a], _ = s.Fetch(a, 0, 0, 100, maxPageBytes)
		}
		it := before[hurt].Items[1]
		e := envelope(hurt, 1, 3000, it.Expiry)
		row := encodeEnvelopeRow(e)
		row[40] ^= 4
		set(t, s, keyEnvelope(e.Expiry, hurt, it.Seq), row)
		if p, err := s.Fetch(hurt, 0, 0, 100, maxPageBytes); !errors.Is(err, ErrCorrupt) || len(p.Items) > 1 {
			t.Fatalf("%d items and %v", len(p.Items), err)
		}
		synctest.Wait()
		<-s.Repaired()
		if err := s.SetMarkSince(t.Context(), 0, Mark{Fact: 1}); !errors.Is(err, ErrAway) || s.Losses() != 1 {
			t.Errorf("a mark of before the repair: %v, after %d losses", err, s.Losses())
		}
		if err := s.SetMarkSince(t.Context(), 1, Mark{Fact: 1}); err != nil {
			t.Error(err)
		}
		p, err := s.Fetch(fine, before[fine].Generation, before[fine].Next, 100, maxPageBytes)
		if err != nil || p.Generation != before[fine].Generation || len(p.Items) != 0 {
			t.Errorf("a mailbox that lost nothing begins anew: %d items, %v", len(p.Items), err)
		}
		p, err = s.Fetch(hurt, before[hurt].Generation, before[hurt].Next, 100, maxPageBytes)
		if err != nil || p.Generation == before[hurt].Generation || len(p.Items) != len(before[hurt].Items)-1 {
			t.Errorf("a mailbox that lacks an envelope goes on: %d items, %v", len(p.Items), err)
		}
		if ok, err := s.Has(KindEnvelope, hurt, e.Digest); ok || err != nil {
			t.Errorf("the store claims to have it: %v", err)
		}
		refillStore(t, s, kept)
		if _, err := fs.Stat("store" + SuffixDamaged); err != nil {
			t.Errorf("the damaged store was not set aside: %v", err)
		}
	})
}

// TestSalvageSurvivesACrash between its two renamings.
func TestSalvageSurvivesACrash(t *testing.T) {
	fs, kept := filled(t)
	if err := fs.Rename("store", "store"+suffixNew); err != nil {
		t.Fatal(err)
	}
	if err := fs.MkdirAll("store"+SuffixDamaged, 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, fs)
	if got := s.Stats(); int(got.Envelopes) != len(kept) {
		t.Errorf("%d envelopes, want %d", got.Envelopes, len(kept))
	}
}
