package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsAndResponsesRoundTrip(t *testing.T) {
	w := newWorld(t)
	for name, req := range w.requests() {
		enc := EncodeRequest(req)
		got, err := ParseRequest(enc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(req, got); d != "" {
			t.Errorf("%s differs: %s", name, d)
		}
		checkLengths(t, name, enc, func(b []byte) error { _, err := ParseRequest(b); return err })
	}
	for name, resp := range w.responses() {
		enc := must(EncodeResponse(resp))
		got, err := ParseResponse(enc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(resp, got); d != "" {
			t.Errorf("%s differs: %s", name, d)
		}
		checkLengths(t, name, enc, func(b []byte) error { _, err := ParseResponse(b); return err })
	}
}

// checkLengths cuts and lengthens an encoding and changes its version.
func checkLengths(t *testing.T, name string, enc []byte, parse func([]byte) error) {
	t.Helper()
	for n := 0; n < len(enc); n += 1 + n/64 {
		if err := parse(enc[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("%s cut to %d of %d: got %v", name, n, len(enc), err)
			return
		}
	}
	if err := parse(append(bytes.Clone(enc), 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("%s with a byte more: got %v", name, err)
	}
	other := bytes.Clone(enc)
	other[1] = 2
	if err := parse(other); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "2") {
		t.Errorf("%s of version 2: got %v", name, err)
	}
}

func TestParsersRefuse(t *testing.T) {
	w := newWorld(t)
	many := &Delete{Locator: w.box().Locator, Digests: make([]Digest, MaxDigests+1)}
	big := &Put{Locator: w.box().Locator, Envelope: make([]byte, MaxEnvelope+1)}
	for name, enc := range map[string][]byte{
		"unknown type":      {0x70, version},
		"too many digests":  EncodeRequest(many),
		"envelope too long": EncodeRequest(big),
	} {
		if _, err := ParseRequest(enc); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, req := range map[string]Request{"digests": many, "envelope": big} {
		if _, _, err := SealRequest(newStream("x"), w.key.Cert(), w.now, req); !errors.Is(err, ErrTooLarge) {
			t.Errorf("sealing %s: got %v", name, err)
		}
	}
	items := make([]Item, 5)
	for i := range items {
		items[i].Envelope = make([]byte, MaxEnvelope)
	}
	for name, resp := range map[string]Response{
		"batch of too many":  &Batch{Items: make([]Item, MaxFetchLimit+1)},
		"batch too large":    &Batch{Items: items},
		"too many receipts":  &Stored{Receipts: make([]Receipt, MaxReceipts+1)},
		"push of too much":   &Pushed{Item: Item{Envelope: make([]byte, MaxEnvelope+1)}},
		"batch of all sizes": &Batch{Items: append(make([]Item, MaxFetchLimit), Item{})},
	} {
		if _, err := EncodeResponse(resp); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := ParseResponse(resp.append([]byte{byte(resp.Tag()), version})); !errors.Is(err, ErrFormat) {
			t.Errorf("parsing %s: got %v", name, err)
		}
	}
	if full := must(EncodeResponse(&Batch{Items: items[:4]})); len(full) > MaxFrame-1024 {
		t.Errorf("a full batch of %d bytes does not fit a frame", len(full))
	}
}

func TestFailuresAreErrors(t *testing.T) {
	for _, c := range classes {
		f := Refuse(fmt.Errorf("the node's inside: %w", c.err))
		if f.Code != c.code || !errors.Is(f, c.err) || strings.Contains(f.Message, "inside") {
			t.Errorf("%s: got %+v", c.name, f)
		}
		if c.code.String() != c.name {
			t.Errorf("%d is named %s", c.code, c.code)
		}
		var got *Failure
		if err := error(f); !errors.As(err, &got) {
			t.Errorf("%s is no Failure", c.name)
		}
	}
	if CodeOf(errors.New("other")) != CodeInternal {
		t.Error("an unknown error is not internal")
	}
	f := &Failure{Code: 200, Message: strings.Repeat("x", 500)}
	if !errors.Is(f, ErrInternal) || strings.Contains(f.Error(), "xx") {
		t.Error("unknown code")
	}
	if got := must(ParseResponse(must(EncodeResponse(f)))).(*Failure); len(got.Message) != MaxMessage {
		t.Errorf("message of %d bytes", len(got.Message))
	}
}

func TestSizeClasses(t *testing.T) {
	for _, tc := range []struct{ n, want int }{{0, 4096}, {4096, 4096}, {4097, 16384}, {16385, 65536}, {65537, 262144}, {262144, 262144}} {
		if got, err := ClassFor(tc.n); err != nil || got != tc.want {
			t.Errorf("%d: got %d, %v", tc.n, got, err)
		}
	}
	if _, err := ClassFor(262145); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if SizeClasses()[0] != CardClass || SizeClasses()[1] != FirstClass || SizeClasses()[3] != MaxEnvelope {
		t.Error("named classes are not classes")
	}
}
