package mailbox

import (
	"crypto/rand"
	"testing"
)

func BenchmarkSealOpenRequest(b *testing.B) {
	w := newWorld(b)
	req := w.put()
	for b.Loop() {
		frame, _, err := SealRequest(rand.Reader, w.key.Cert(), w.now, req)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := w.key.OpenRequest(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthorizePut(b *testing.B) {
	w := newWorld(b)
	req, terms := w.put(), w.terms()
	for b.Loop() {
		if err := Authorize(req, terms); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSolveWork(b *testing.B) {
	w := newWorld(b)
	q := NewWorkQuote(w.node, DefaultWorkBits, w.now)
	for i := 0; b.Loop(); i++ {
		if _, err := SolveWork(nil, PutPurpose(Address{byte(i), byte(i >> 8)}, Digest{}), q); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignReceipts(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		var t ReceiptBatch
		for i := range 100 {
			t.Add(Address{byte(i)}, Digest{}, 1)
		}
		if _, err := t.Sign(rand.Reader, w.node, w.now); err != nil {
			b.Fatal(err)
		}
	}
}
