package client

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateVectors = flag.Bool("update", false, "rewrite spec/vectors/client.json")

// vectors is spec/vectors/client.json (spec/client.md §8).
type vectors struct {
	Contents []contentVector `json:"contents"`
	Opening  openingVector   `json:"opening"`
	Refused  []struct {
		Why     string `json:"why"`
		Content string `json:"content"`
		Error   string `json:"error"`
	} `json:"refused"`
}

type contentVector struct {
	Type     uint64          `json:"type"`
	ID       string          `json:"id,omitempty"`
	SentAt   int64           `json:"sent,omitempty"`
	Counter  uint64          `json:"counter,omitempty"`
	Text     string          `json:"text,omitempty"`
	Receipts []receiptVector `json:"receipts,omitempty"`
	Encoded  string          `json:"encoded"`
}

type receiptVector struct {
	ID   string `json:"id"`
	Kind uint64 `json:"kind"`
}

type openingVector struct {
	Invitation string `json:"invitation"`
	Created    int64  `json:"created"`
	Content    string `json:"content"`
	Encoded    string `json:"encoded"`
}

var vectorPath = filepath.Join("..", "..", "spec", "vectors", "client.json")

var contentClasses = map[string]error{"malformed": errContent, "version": errContentVersion}

func vectorOf(c *content) contentVector {
	v := contentVector{Type: c.Type, ID: hex.EncodeToString(c.ID), SentAt: c.SentAt, Counter: c.Counter, Text: c.Text, Encoded: hex.EncodeToString(c.encode())}
	for _, r := range c.Receipts {
		v.Receipts = append(v.Receipts, receiptVector{hex.EncodeToString(r.ID), r.Kind})
	}
	return v
}

func TestVectors(t *testing.T) {
	if *updateVectors {
		writeVectors(t)
	}
	b, err := os.ReadFile(vectorPath)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	for _, want := range v.Contents {
		c, err := parseContent(unhex(t, want.Encoded))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, vectorOf(c)); diff != "" {
			t.Error(diff)
		}
	}
	o, _, err := parseOpening(unhex(t, v.Opening.Encoded))
	if err != nil {
		t.Fatal(err)
	}
	got := openingVector{hex.EncodeToString(o.Invitation), o.Created, hex.EncodeToString(o.Content), hex.EncodeToString(o.encode())}
	if diff := cmp.Diff(v.Opening, got); diff != "" {
		t.Error(diff)
	}
	for _, r := range v.Refused {
		if _, err := parseContent(unhex(t, r.Content)); !errors.Is(err, contentClasses[r.Error]) {
			t.Errorf("%s: got %v, want %s", r.Why, err, r.Error)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeVectors(t *testing.T) {
	t.Helper()
	id := bytes.Repeat([]byte{7}, idSize)
	text := sampleText()
	text.Receipts = nil
	var v vectors
	for _, c := range []*content{
		text, sampleText(),
		{Type: typeReceipts, Receipts: []receipt{{ID: id, Kind: 1}, {ID: bytes.Repeat([]byte{8}, idSize), Kind: 2}}},
		{Type: 99},
	} {
		v.Contents = append(v.Contents, vectorOf(c))
	}
	o := opening{Invitation: []byte("an invitation"), Created: 1773500966000, Content: text.encode()}
	v.Opening = openingVector{hex.EncodeToString(o.Invitation), o.Created, hex.EncodeToString(o.Content), hex.EncodeToString(o.encode())}
	refuse := func(why, class string, b []byte) {
		v.Refused = append(v.Refused, struct {
			Why     string `json:"why"`
			Content string `json:"content"`
			Error   string `json:"error"`
		}{why, hex.EncodeToString(b), class})
	}
	change := func(f func(*content)) []byte {
		c := sampleText()
		f(c)
		c.Version = contentVersion
		return encode(c)
	}
	other := sampleText()
	other.Version = 2
	refuse("another version", "version", encode(other))
	refuse("trailing byte", "malformed", append(text.encode(), 0))
	refuse("short id", "malformed", change(func(c *content) { c.ID = c.ID[:15] }))
	refuse("no counter", "malformed", change(func(c *content) { c.Counter = 0 }))
	refuse("no text", "malformed", change(func(c *content) { c.Text = "" }))
	refuse("receipt with a short id", "malformed", change(func(c *content) { c.Receipts[0].ID = id[:1] }))
	refuse("97 receipts", "malformed", change(func(c *content) {
		c.Receipts = nil
		for range maxReceipts + 1 {
			c.Receipts = append(c.Receipts, receipt{ID: id, Kind: 1})
		}
	}))
	refuse("indefinite length", "malformed", []byte{0xbf, 0x00, 0x01, 0xff})
	refuse("doubled key", "malformed", []byte{0xa2, 0x00, 0x01, 0x00, 0x01})
	refuse("text that is not UTF-8", "malformed", change(func(c *content) { c.Text = strings.Repeat("\xff", 3) }))
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorPath, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
