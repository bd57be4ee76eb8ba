package vault

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var updateVectors = flag.Bool("update", false, "rewrite spec/vectors/vault.json")

// vectors is spec/vectors/vault.json (spec/vault.md §8).
type vectors struct {
	Passphrase string          `json:"passphrase"`
	Header     string          `json:"header"`
	Master     string          `json:"master"`
	Refused    []refusedHeader `json:"refused"`
}

type refusedHeader struct {
	Why        string `json:"why"`
	Passphrase string `json:"passphrase"`
	Header     string `json:"header"`
	Error      string `json:"error"`
}

var classes = map[string]error{"passphrase": ErrPassphrase, "damaged": ErrDamaged, "version": ErrVersion}

var vectorPath = filepath.Join("..", "..", "spec", "vectors", "vault.json")

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
	master, err := openHeader(unhex(t, v.Header), []byte(v.Passphrase))
	if err != nil || hex.EncodeToString(master.Bytes()) != v.Master {
		t.Errorf("header: %v", err)
	}
	for _, r := range v.Refused {
		if _, err := openHeader(unhex(t, r.Header), []byte(r.Passphrase)); !errors.Is(err, classes[r.Error]) {
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
	random := make([]byte, 256)
	for i := range random {
		random[i] = byte(i)
	}
	master, header, err := newHeader(bytes.NewReader(random), cheap, pass)
	if err != nil {
		t.Fatal(err)
	}
	v := vectors{Passphrase: string(pass), Header: hex.EncodeToString(header), Master: hex.EncodeToString(master.Bytes())}
	refuse := func(why, class, passphrase string, change func([]byte) []byte) {
		v.Refused = append(v.Refused, refusedHeader{why, passphrase, hex.EncodeToString(change(bytes.Clone(header))), class})
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	refuse("another passphrase", "passphrase", "correct horse batterz", func(b []byte) []byte { return b })
	refuse("another version", "version", string(pass), func(b []byte) []byte { b[0] = 2; return b })
	refuse("cut", "damaged", string(pass), func(b []byte) []byte { return b[:len(b)-1] })
	refuse("trailing byte", "damaged", string(pass), func(b []byte) []byte { return append(b, 0) })
	refuse("changed memory", "damaged", string(pass), flip(5))
	refuse("changed salt", "damaged", string(pass), flip(12))
	refuse("changed key", "damaged", string(pass), flip(60))
	refuse("changed check", "damaged", string(pass), flip(headerSize-1))
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorPath, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
