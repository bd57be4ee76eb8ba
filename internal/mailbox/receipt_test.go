package mailbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/suite"
)

func TestReceiptsOfEveryBatchSize(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 100, MaxReceiptBatch} {
		for i, r := range w.receipts(n) {
			if n > 40 && i%97 != 0 && i != n-1 {
				continue
			}
			if err := r.Confirms(Address{byte(i), byte(i >> 8)}, Digest{byte(i)}, uint64(1000+i)); err != nil {
				t.Fatalf("%d of %d: %v", i, n, err)
			}
			enc := r.Encode()
			if len(enc) > MaxReceiptSize {
				t.Fatalf("%d bytes", len(enc))
			}
			if d := cmp.Diff(&r, must(ParseReceipt(enc))); d != "" {
				t.Fatal(d)
			}
		}
	}
}

func TestReceiptRefuses(t *testing.T) {
	w := newWorld(t)
	changes := map[string]func(*Receipt){
		"node":       func(r *Receipt) { r.Node[0] ^= 1 },
		"address":    func(r *Receipt) { r.Address[0] ^= 1 },
		"digest":     func(r *Receipt) { r.Digest[0] ^= 1 },
		"expiry":     func(r *Receipt) { r.Expiry++ },
		"time":       func(r *Receipt) { r.Time++ },
		"salt":       func(r *Receipt) { r.Salt[0] ^= 1 },
		"size":       func(r *Receipt) { r.Size++ },
		"no size":    func(r *Receipt) { r.Size = 0 },
		"huge size":  func(r *Receipt) { r.Size = 65535 },
		"index":      func(r *Receipt) { r.Index ^= 1 },
		"index out":  func(r *Receipt) { r.Index = r.Size },
		"path":       func(r *Receipt) { r.Path[1][0] ^= 1 },
		"short path": func(r *Receipt) { r.Path = r.Path[:len(r.Path)-1] },
		"long path":  func(r *Receipt) { r.Path = append(r.Path, [suite.HashSize]byte{}) },
		"signature":  func(r *Receipt) { r.Signature[0] ^= 1 },
	}
	for name, change := range changes {
		r := w.receipts(5)[1]
		change(&r)
		if err := r.Verify(); !errors.Is(err, ErrReceipt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	r := w.receipts(5)[1]
	if err := r.Confirms(r.Address, Digest{0xff}, r.Expiry); !errors.Is(err, ErrReceipt) {
		t.Errorf("other put: got %v", err)
	}
	enc := r.Encode()
	long := bytes.Clone(enc)
	long[1+32+32+32+16+16+4] = 11
	for name, in := range map[string][]byte{"empty": nil, "cut": enc[:150], "trailing": append(bytes.Clone(enc), 0), "long path": long} {
		if _, err := ParseReceipt(in); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A neighbour's path shows nothing by which a leaf can be recognised.
func TestReceiptPathsHideTheNeighbours(t *testing.T) {
	w := newWorld(t)
	var batch ReceiptBatch
	for range 2 {
		batch.Add(Address{1}, Digest{2}, 3)
	}
	rs := must(batch.Sign(newStream("r"), w.node, w.now))
	if rs[0].Path[0] == rs[1].Path[0] || rs[0].Salt == rs[1].Salt {
		t.Error("equal puts have equal leaves")
	}
	if got := must(batch.Sign(newStream("r"), w.node, w.now)); got != nil || batch.Len() != 0 {
		t.Error("a signed batch is not empty")
	}
}

func TestReceiptBatchIsBounded(t *testing.T) {
	var b ReceiptBatch
	for i := range MaxReceiptBatch {
		if at, ok := b.Add(Address{}, Digest{}, 0); !ok || at != i {
			t.Fatalf("%d: got %d, %v", i, at, ok)
		}
	}
	if _, ok := b.Add(Address{}, Digest{}, 0); ok {
		t.Fatal("one too many was taken")
	}
}

func TestWork(t *testing.T) {
	w := newWorld(t)
	q := NewWorkQuote(w.node, testBits, w.now)
	if _, err := SolveWork(func() bool { return true }, PutPurpose(Address{}, Digest{}), NewWorkQuote(w.node, MaxWorkBits, w.now)); !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: got %v", err)
	}
	if _, err := SolveWork(nil, PutPurpose(Address{}, Digest{}), WorkQuote{Bits: MaxWorkBits + 1}); !errors.Is(err, ErrBadWork) {
		t.Errorf("too dear: got %v", err)
	}
	base := OpenPurpose(Address{1}, 4<<20, 18)
	for _, tc := range []struct {
		size  uint32
		days  uint16
		extra uint8
	}{{1, 1, 0}, {4 << 20, 18, 0}, {5 << 20, 18, 1}, {4 << 20, 19, 1}, {8 << 20, 34, 2}, {64 << 20, 34, 5}} {
		if got := OpenPurpose(Address{1}, tc.size, tc.days).extra; got != tc.extra {
			t.Errorf("%d bytes, %d days: %d bits, want %d", tc.size, tc.days, got, tc.extra)
		}
	}
	if base.binding == OpenPurpose(Address{2}, 4<<20, 18).binding || base.binding == OpenPurpose(Address{1}, 4<<20, 17).binding {
		t.Error("work is not bound to its purpose")
	}
	cheap, dear := q, q
	cheap.Bits, dear.Bits = 1, 29
	if got := MedianQuote([]WorkQuote{dear, q, cheap}); got.Bits != testBits {
		t.Errorf("median of %d bits", got.Bits)
	}
}

// A quote is stored with everything that it pays for. If it told clients apart
// it would join the mailboxes that one client opens.
func TestQuotesTellNoClientFromAnother(t *testing.T) {
	w := newWorld(t)
	start := w.now.Truncate(QuoteStep)
	want := NewWorkQuote(w.node, testBits, start)
	for _, after := range []time.Duration{time.Second, QuoteStep / 2, QuoteStep - time.Second} {
		q := NewWorkQuote(w.node, testBits, start.Add(after))
		if q != want {
			t.Errorf("%v later: another quote", after)
		}
		if err := q.Verify(start.Add(after)); err != nil {
			t.Errorf("%v later: %v", after, err)
		}
	}
	if NewWorkQuote(w.node, testBits, start.Add(QuoteStep)) == want {
		t.Error("a quote lasts for more than its step")
	}
	if err := want.Verify(start.Add(QuoteStep + QuoteLife/2)); err != nil {
		t.Errorf("at the end of its life: %v", err)
	}
	if err := want.Verify(start.Add(QuoteLife + MaxClockSkew + time.Second)); !errors.Is(err, ErrBadWork) {
		t.Errorf("after its life: %v", err)
	}
	for name, mark := range map[string]func(*WorkQuote){
		"issued off the grid": func(q *WorkQuote) { q.Issued++; q.Expires++ },
		"short life":          func(q *WorkQuote) { q.Expires-- },
		"long life":           func(q *WorkQuote) { q.Expires++ },
		"no life":             func(q *WorkQuote) { q.Expires = 0 },
	} {
		q := want
		mark(&q)
		q.Signature = w.node.Sign(labelQuote, q.body(nil))
		if err := q.Verify(start.Add(time.Minute)); !errors.Is(err, ErrBadWork) {
			t.Errorf("%s: got %v, want ErrBadWork", name, err)
		}
	}
}

// Of receipts that were signed together one signature is verified, and what
// differs in anything that it covers is verified anew.
func TestRootsRemember(t *testing.T) {
	key := must(suite.NewSigningKey(rand.Reader))
	var batch ReceiptBatch
	for i := range 5 {
		batch.Add(Address{1}, Digest{byte(i)}, 7)
	}
	signed := must(batch.Sign(rand.Reader, key, time.Unix(1000, 0)))
	var roots Roots
	for i := range signed {
		if err := roots.Confirms(&signed[i], Address{1}, Digest{byte(i)}, 7); err != nil {
			t.Fatal(err)
		}
	}
	if roots.next != 1 {
		t.Errorf("%d roots were verified", roots.next)
	}
	for name, change := range map[string]func(*Receipt){
		"time":      func(r *Receipt) { r.Time++ },
		"node":      func(r *Receipt) { r.Node[0] ^= 1 },
		"signature": func(r *Receipt) { r.Signature[0] ^= 1 },
		"salt":      func(r *Receipt) { r.Salt[0] ^= 1 },
		"path":      func(r *Receipt) { r.Path = r.Path[1:] },
	} {
		r := signed[2]
		change(&r)
		if err := roots.Confirms(&r, Address{1}, Digest{2}, 7); !errors.Is(err, ErrReceipt) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := roots.Confirms(&signed[2], Address{1}, Digest{3}, 7); !errors.Is(err, ErrReceipt) {
		t.Errorf("for another envelope: %v", err)
	}
	if err := roots.Confirms(new(Receipt), Address{}, Digest{}, 0); !errors.Is(err, ErrReceipt) {
		t.Errorf("an empty receipt: %v", err)
	}
	for range 2 * rootsKept {
		batch.Add(Address{1}, Digest{9}, 7)
		r := must(batch.Sign(rand.Reader, key, time.Unix(1000, 0)))
		if err := roots.Confirms(&r[0], Address{1}, Digest{9}, 7); err != nil {
			t.Fatal(err)
		}
	}
}
