package client

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sampleText() *content {
	id := bytes.Repeat([]byte{7}, idSize)
	return &content{Type: typeText, ID: id, SentAt: 1773500966000, Counter: 3, Text: "hello", Receipts: []receipt{{ID: id, Kind: 1}}}
}

func TestContentComesBack(t *testing.T) {
	want := sampleText()
	got, err := parseContent(want.encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(receipt{}, "_")); diff != "" {
		t.Error(diff)
	}
}

func TestContentIsBounded(t *testing.T) {
	change := func(f func(*content)) []byte {
		c := sampleText()
		f(c)
		return c.encode()
	}
	other := sampleText()
	other.Version = 2
	for name, tc := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":        {nil, errContent},
		"no CBOR":        {[]byte("hello"), errContent},
		"trailing":       {append(sampleText().encode(), 0), errContent},
		"other version":  {encode(other), errContentVersion},
		"short ID":       {change(func(c *content) { c.ID = c.ID[:8] }), errContent},
		"no counter":     {change(func(c *content) { c.Counter = 0 }), errContent},
		"huge counter":   {change(func(c *content) { c.Counter = 1 << 63 }), errContent},
		"negative time":  {change(func(c *content) { c.SentAt = -1 }), errContent},
		"no text":        {change(func(c *content) { c.Text = "" }), errContent},
		"long text":      {change(func(c *content) { c.Text = strings.Repeat("x", maxText+1) }), errContent},
		"many receipts":  {change(func(c *content) { c.Receipts = make([]receipt, maxReceipts+1) }), errContent},
		"short receipt":  {change(func(c *content) { c.Receipts = []receipt{{ID: []byte{1}, Kind: 1}} }), errContent},
		"indefinite map": {[]byte{0xbf, 0x00, 0x01, 0xff}, errContent},
		"doubled key":    {[]byte{0xa2, 0x00, 0x01, 0x00, 0x01}, errContent},
	} {
		if _, err := parseContent(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	if c, err := parseContent((&content{Type: 99}).encode()); err != nil || c.Type != 99 {
		t.Errorf("a later version's type: %v", err)
	}
}

func FuzzContent(f *testing.F) {
	f.Add(sampleText().encode())
	f.Add((&content{Type: typeReceipts, Receipts: sampleText().Receipts}).encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := parseContent(in)
		if err != nil {
			return
		}
		again, err := parseContent(c.encode())
		if err != nil {
			t.Fatalf("what was read is not read again: %v", err)
		}
		if diff := cmp.Diff(c, again, cmpopts.IgnoreFields(receipt{}, "_"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzOpening(f *testing.F) {
	f.Add((&opening{Invitation: []byte("i"), Created: 5, Content: sampleText().encode()}).encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		o, c, err := parseOpening(in)
		if err == nil && (o == nil || c == nil) {
			t.Fatal("neither an opening nor an error")
		}
	})
}
