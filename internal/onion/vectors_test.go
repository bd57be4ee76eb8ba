package onion

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// hexBytes is a byte string that stands in JSON as hex.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// moduleRoot is the folder of go.mod above the test.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

// publicVectors reads a file of public known answers into v. They lie beside
// the checkout; without them the test is skipped.
func publicVectors(t *testing.T, name string, v any) {
	t.Helper()
	path := filepath.Join(moduleRoot(t), "..", "shared", "vectors", name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("public vectors %s are not beside the checkout", name)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}
