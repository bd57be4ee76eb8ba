package store

import (
	"context"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestReferencesArePaged(t *testing.T) {
	s := open(t, vfs.NewMem())
	a := address(1)
	grant(t, s, a, 1<<20)
	grant(t, s, a, 2<<20)
	grant(t, s, address(2), 1<<20)
	put(t, s, envelope(address(2), 0, 4096, testExpiry))
	var want []Reference
	for i := range 7 {
		e := envelope(a, i, 4096, testExpiry)
		put(t, s, e)
		want = append(want, Reference{KindEnvelope, e.Digest})
	}
	stone := Tombstone{Address: a, ID: sha256.Sum256([]byte("t")), Digests: []Digest{want[3].Ref}, Expiry: testExpiry, Proof: []byte("p")}
	if err := s.Delete(t.Context(), stone); err != nil {
		t.Fatal(err)
	}
	want = append(slices.Delete(want, 3, 4), Reference{KindTombstone, stone.ID})
	var got []Reference
	var after Reference
	for more := true; more; {
		var page []Reference
		var err error
		if page, more, err = s.References(a, after, 2); err != nil || len(page) > 2 {
			t.Fatalf("%d references, %v", len(page), err)
		}
		got, after = append(got, page...), page[len(page)-1]
	}
	if len(got) != 2+len(want) || got[0].Kind != KindGrant || got[1].Kind != KindGrant {
		t.Fatalf("%d references", len(got))
	}
	for _, x := range want {
		if !slices.Contains(got, x) {
			t.Errorf("%v is missing", x)
		}
	}
	if refs, more, err := s.References(address(3), Reference{}, 2); len(refs) != 0 || more || err != nil {
		t.Errorf("an unknown mailbox: %v, %v, %v", refs, more, err)
	}
}

// TestDropLeavesTheOthers drops half of the mailboxes.
func TestDropLeavesTheOthers(t *testing.T) {
	s := open(t, vfs.NewMem())
	odd := func(a Address) bool { return a[0]%2 == 1 }
	section := func(a Address) uint16 { return uint16(a[0] % 2) }
	const boxes = 40
	var gone, kept []*Envelope
	for i := range boxes {
		a := address(i)
		grant(t, s, a, 1<<20)
		for k := range 16 {
			e := envelope(a, k, 4096, testExpiry)
			put(t, s, e)
			if odd(a) {
				gone = append(gone, e)
			} else {
				kept = append(kept, e)
			}
		}
	}
	before, err := s.Loads(section)
	if err != nil || before[1].Bytes != uint64(len(gone)*4096) || before[0].Mailboxes+before[1].Mailboxes != boxes {
		t.Fatalf("%+v, %v", before, err)
	}
	n, err := s.Drop(t.Context(), odd)
	if err != nil || n != len(gone) {
		t.Fatalf("%d dropped of %d, %v", n, len(gone), err)
	}
	if after, err := s.Loads(section); err != nil || len(after) != 1 || after[0] != before[0] {
		t.Errorf("left are %+v, %v", after, err)
	}
	if st := s.Stats(); st.Envelopes != uint64(len(kept)) {
		t.Errorf("%d envelopes, want %d", st.Envelopes, len(kept))
	}
	for _, e := range kept {
		if _, err := s.Record(KindEnvelope, e.Address, e.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

// Drop asks again when it takes away, in order with other changes.
func TestDropCanBeCalledOff(t *testing.T) {
	s := open(t, vfs.NewMem())
	a := address(1)
	grant(t, s, a, 1<<20)
	put(t, s, envelope(a, 0, 4096, testExpiry))
	asked := 0
	n, err := s.Drop(t.Context(), func(Address) bool { asked++; return asked <= 2 }) // both records, when listed
	if err != nil || n != 0 || len(fetchAll(t, s, a)) != 1 {
		t.Errorf("%d dropped, %v", n, err)
	}
}

func TestMarks(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	one, two := Mark{1, [32]byte{1}, 7, 8}, Mark{2, [32]byte{2}, 9, 10}
	if err := s.SetMark(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := s.SetMark(t.Context(), two, one); err != nil {
		t.Fatal(err)
	}
	old := one
	one.Serial = 11
	if err := s.SetMark(context.Background(), one); err != nil {
		t.Fatal(err)
	}
	if err := s.SetMark(t.Context(), two, old); err != nil { // which is not there any more
		t.Fatal(err)
	}
	again := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	if got, err := again.Marks(); err != nil || !slices.Equal(got, []Mark{one, two}) {
		t.Errorf("after a power cut %+v, %v", got, err)
	}
}
