package mailbox

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

func TestEnvelopesRoundTripInEachClass(t *testing.T) {
	b := newWorld(t).box()
	addr := b.Locator.Address()
	full := make([][]byte, MaxSlots)
	for i := range full {
		full[i] = bytes.Repeat([]byte{byte(i)}, MaxSlot)
	}
	tests := []struct {
		slots [][]byte
		body  int
		class int
	}{
		{nil, 0, 4096},
		{[][]byte{make([]byte, 200)}, 2500, 4096},
		{nil, 4096 - envelopeOverhead - envelopeFixed, 4096},
		{nil, 4097 - envelopeOverhead - envelopeFixed, 16384},
		{full, 0, 4096},
		{full, 1000, 16384},
		{full, 60000, 65536},
		{full, MaxBody, 262144},
	}
	for _, tc := range tests {
		e := &Envelope{Slots: tc.slots, Body: bytes.Repeat([]byte{7}, tc.body)}
		e.PQ[3] = 9
		sealed := must(SealEnvelope(newStream("n"), b.Key, addr, e))
		if len(sealed) != tc.class {
			t.Errorf("body of %d: %d bytes, want %d", tc.body, len(sealed), tc.class)
		}
		got := must(OpenEnvelope(b.Key, addr, sealed))
		if d := cmp.Diff(e.Slots, got.Slots); d != "" || !bytes.Equal(e.Body, got.Body) || e.PQ != got.PQ {
			t.Errorf("body of %d: another envelope came back: %s", tc.body, d)
		}
	}
	for name, e := range map[string]*Envelope{
		"body":  {Slots: full, Body: make([]byte, MaxBody+1)},
		"slots": {Slots: make([][]byte, MaxSlots+1)},
		"slot":  {Slots: [][]byte{make([]byte, MaxSlot+1)}},
	} {
		if _, err := SealEnvelope(newStream("n"), b.Key, addr, e); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestOpenEnvelopeRefuses(t *testing.T) {
	w := newWorld(t)
	b := w.box()
	addr := b.Locator.Address()
	sealed := must(SealEnvelope(newStream("n"), b.Key, addr, &Envelope{Body: []byte("x")}))
	forge := func(change func(inner []byte)) []byte {
		inner := make([]byte, 4096-envelopeOverhead)
		change(inner)
		return must(sealOuter(newStream("n"), b.Key, labelEnvelope, addr, inner, 4096))
	}
	with := func(i int) []byte {
		x := bytes.Clone(sealed)
		x[i] ^= 0x40
		return x
	}
	other := must(suite.NewKey(newStream("k")))
	for name, tc := range map[string]struct {
		key    suite.Key
		addr   Address
		sealed []byte
		want   error
	}{
		"empty":            {b.Key, addr, nil, ErrFormat},
		"version":          {b.Key, addr, with(0), ErrVersion},
		"no class":         {b.Key, addr, sealed[:4095], ErrFormat},
		"nonce":            {b.Key, addr, with(5), ErrOpen},
		"ciphertext":       {b.Key, addr, with(2000), ErrOpen},
		"tag":              {b.Key, addr, with(4095), ErrOpen},
		"other key":        {other, addr, sealed, ErrOpen},
		"other address":    {b.Key, Address{1}, sealed, ErrOpen},
		"too many slots":   {b.Key, addr, forge(func(x []byte) { x[PQFieldSize] = MaxSlots + 1 }), ErrFormat},
		"slot too long":    {b.Key, addr, forge(func(x []byte) { x[PQFieldSize], x[PQFieldSize+1] = 1, 9 }), ErrFormat},
		"body too long":    {b.Key, addr, forge(func(x []byte) { x[PQFieldSize+1] = 0xff }), ErrFormat},
		"padding not zero": {b.Key, addr, forge(func(x []byte) { x[len(x)-1] = 1 }), ErrFormat},
		"a first contact":  {b.Key, addr, must(SealFirst(newStream("n"), b.Key, addr, nil)), ErrOpen},
	} {
		if _, err := OpenEnvelope(tc.key, tc.addr, tc.sealed); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

func TestFirstContactIsAlwaysOneSize(t *testing.T) {
	key, addr := must(suite.NewKey(newStream("k"))), Address{1}
	for _, n := range []int{0, 1, 5000, MaxFirst} {
		sealed := must(SealFirst(newStream("n"), key, addr, bytes.Repeat([]byte{3}, n)))
		if len(sealed) != FirstClass {
			t.Errorf("%d bytes: %d", n, len(sealed))
		}
		if got := must(OpenFirst(key, addr, sealed)); len(got) != n {
			t.Errorf("%d bytes: %d came back", n, len(got))
		}
	}
	if _, err := SealFirst(newStream("n"), key, addr, make([]byte, MaxFirst+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too long: got %v", err)
	}
	sealed := must(SealFirst(newStream("n"), key, addr, nil))
	if _, err := OpenFirst(key, Address{2}, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("other address: got %v", err)
	}
	if _, err := OpenFirst(key, addr, sealed[:4096]); !errors.Is(err, ErrFormat) {
		t.Errorf("cut: got %v", err)
	}
	bad := make([]byte, FirstClass-envelopeOverhead)
	bad[9] = 1
	if _, err := OpenFirst(key, addr, must(sealOuter(newStream("n"), key, labelFirst, addr, bad, FirstClass))); !errors.Is(err, ErrFormat) {
		t.Errorf("padding: got %v", err)
	}
}

func TestBody(t *testing.T) {
	key := must(suite.NewKey(newStream("k")))
	sealed := must(SealBody(newStream("n"), key, []byte("text"), []byte("ad")))
	if got := must(OpenBody(key, sealed, []byte("ad"))); string(got) != "text" {
		t.Fatalf("got %q", got)
	}
	if _, err := OpenBody(key, sealed, []byte("da")); !errors.Is(err, ErrOpen) {
		t.Errorf("other data: got %v", err)
	}
	if _, err := OpenBody(key, sealed[:10], nil); !errors.Is(err, ErrOpen) {
		t.Errorf("cut: got %v", err)
	}
}

func TestDigestsAreBoundToTheirMailbox(t *testing.T) {
	if EnvelopeDigest(Address{1}, []byte("x")) == EnvelopeDigest(Address{2}, []byte("x")) {
		t.Error("one envelope has one digest in two mailboxes")
	}
}

func TestACardFillsItsClass(t *testing.T) {
	if got := len(newWorld(t).cardPut().Envelope); got != CardClass || identity.SealedCardSize != CardClass {
		t.Errorf("%d bytes", got)
	}
}
