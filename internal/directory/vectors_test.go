package directory_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/directory"
)

var update = flag.Bool("update", false, "rewrite spec/vectors/directory.json")

// vectors is spec/vectors/directory.json (spec/directory.md §8).
type vectors struct {
	Network   json.RawMessage `json:"network"`
	Document  string          `json:"document"`
	Placement []struct {
		Address string            `json:"address"`
		Swarm   directory.SwarmID `json:"swarm"`
	} `json:"placement"`
	Refused []struct {
		Why      string `json:"why"`
		Document string `json:"document"`
		Error    string `json:"error"`
	} `json:"refused"`
}

var classes = map[string]error{"version": directory.ErrVersion, "invalid": directory.ErrInvalid}

func TestVectors(t *testing.T) {
	path := filepath.Join("..", "..", "spec", "vectors", "directory.json")
	if *update {
		writeVectors(t, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	n, err := directory.ParseNetwork(v.Network)
	if err != nil {
		t.Fatal(err)
	}
	document, err := n.Document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v.Document, hex.EncodeToString(document)); diff != "" {
		t.Errorf("document: %s", diff)
	}
	d := verified(t, n)
	for _, p := range v.Placement {
		if got := d.SwarmIDOf([32]byte(unhex(t, p.Address))); got != p.Swarm {
			t.Errorf("address %s belongs to swarm %d, want %d", p.Address, got, p.Swarm)
		}
	}
	for _, r := range v.Refused {
		if _, err := directory.ParseDocument(unhex(t, r.Document)); !errors.Is(err, classes[r.Error]) {
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

func writeVectors(t *testing.T, path string) {
	n := local(t, 10, 5)
	file, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	document, err := n.Document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v := map[string]any{"network": json.RawMessage(file), "document": hex.EncodeToString(document)}
	d := verified(t, n)
	var placement []map[string]any
	for i := range 8 {
		a := address(i)
		placement = append(placement, map[string]any{"address": hex.EncodeToString(a[:]), "swarm": d.SwarmIDOf(a)})
	}
	v["placement"] = placement
	version := append([]byte{2}, document[1:]...)
	longer := append(append([]byte(nil), document...), 0)
	v["refused"] = []map[string]any{
		{"why": "version 2", "error": "version", "document": hex.EncodeToString(version)},
		{"why": "cut in the last node", "error": "invalid", "document": hex.EncodeToString(document[:len(document)-1])},
		{"why": "a byte after the last node", "error": "invalid", "document": hex.EncodeToString(longer)},
		{"why": "a genesis issued a second later", "error": "invalid", "document": hex.EncodeToString(late(document, n))},
		{"why": "no nodes", "error": "invalid", "document": "01056c6f63616c0000000069a42a4000000000000000000000000069a42a400000"},
		{"why": "nodes not in order", "error": "invalid", "document": hex.EncodeToString(unordered(t, n))},
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// late returns the document with another date of issue.
func late(document []byte, n *directory.Network) []byte {
	b := append([]byte(nil), document...)
	b[1+1+len(n.Document.Name)+3*8-1]++
	return b
}

// unordered returns a document whose first node's ID was made the greatest.
func unordered(t *testing.T, n *directory.Network) []byte {
	b, err := n.Document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	head := 1 + 1 + len(n.Document.Name) + 3*8 + 2
	for i := range 32 {
		b[head+i] = 0xff
	}
	return b
}
