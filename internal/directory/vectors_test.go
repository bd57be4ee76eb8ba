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
	Genesis   string          `json:"genesis"`
	Placement []struct {
		Address string            `json:"address"`
		Swarm   directory.SwarmID `json:"swarm"`
	} `json:"placement"`
	Refused []struct {
		Why     string `json:"why"`
		Genesis string `json:"genesis"`
		Error   string `json:"error"`
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
	genesis, err := n.Genesis.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v.Genesis, hex.EncodeToString(genesis)); diff != "" {
		t.Errorf("genesis: %s", diff)
	}
	d := verified(t, n)
	for _, p := range v.Placement {
		if got := d.SwarmIDOf([32]byte(unhex(t, p.Address))); got != p.Swarm {
			t.Errorf("address %s belongs to swarm %d, want %d", p.Address, got, p.Swarm)
		}
	}
	for _, r := range v.Refused {
		if _, err := directory.ParseGenesis(unhex(t, r.Genesis)); !errors.Is(err, classes[r.Error]) {
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
	genesis, err := n.Genesis.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v := map[string]any{"network": json.RawMessage(file), "genesis": hex.EncodeToString(genesis)}
	d := verified(t, n)
	var placement []map[string]any
	for i := range 8 {
		a := address(i)
		placement = append(placement, map[string]any{"address": hex.EncodeToString(a[:]), "swarm": d.SwarmIDOf(a)})
	}
	v["placement"] = placement
	version := append([]byte{2}, genesis[1:]...)
	longer := append(append([]byte(nil), genesis...), 0)
	v["refused"] = []map[string]any{
		{"why": "version 2", "error": "version", "genesis": hex.EncodeToString(version)},
		{"why": "cut in the last node", "error": "invalid", "genesis": hex.EncodeToString(genesis[:len(genesis)-1])},
		{"why": "a byte after the last node", "error": "invalid", "genesis": hex.EncodeToString(longer)},
		{"why": "no nodes", "error": "invalid", "genesis": "01056c6f63616c0000000069a42a400000"},
		{"why": "nodes not in order", "error": "invalid", "genesis": hex.EncodeToString(unordered(t, n))},
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

// unordered returns a genesis whose first node's ID was made the greatest.
func unordered(t *testing.T, n *directory.Network) []byte {
	b, err := n.Genesis.Encode()
	if err != nil {
		t.Fatal(err)
	}
	head := 1 + 1 + len(n.Genesis.Name) + 8 + 2
	for i := range 32 {
		b[head+i] = 0xff
	}
	return b
}
