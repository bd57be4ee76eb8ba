package chaos

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestSearch: a part of an envelope is found wherever it lies, also across two
// reads, and nothing else is.
func TestSearch(t *testing.T) {
	n := newNeedles()
	var envelopes [][]byte
	for i := range 5 {
		e := &envelope{seed: [32]byte{byte(i)}}
		envelopes = append(envelopes, e.bytes())
		if got := n.add(e.bytes()); got != i {
			t.Fatalf("envelope %d is number %d", i, got)
		}
	}
	dir := t.TempDir()
	write := func(name string, parts ...[]byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("begin", envelopes[0])
	write(filepath.Join("deep", "cut"), envelopes[1][1400:1600])
	write("border", make([]byte, searchBuffer-70), envelopes[2][:100])
	write("almost", envelopes[3][64:64+needleSize-1])
	found, err := n.search(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, true, false, false} {
		if found[i] != want {
			t.Errorf("envelope %d: found %v", i, found[i])
		}
	}
}
