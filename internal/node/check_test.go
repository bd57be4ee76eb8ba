package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/internal/swarm/store"
)

// TestCheck looks at the store of a node that runs, that rests, and whose disk
// lost a file.
func TestCheck(t *testing.T) {
	dir, ctx := newDir(t), context.Background()
	if _, err := Check(ctx, dir, false, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	n, err := Start(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if res, err := Check(ctx, dir, true, nil); err != nil || !res.Sound || res.Repaired || res.SetAside != "" {
		t.Errorf("a sound store: %+v, %v", res, err)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, storeDir, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatal("no manifest", err)
	}
	for _, m := range manifests {
		if err := os.Remove(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Start(Config{Dir: dir}); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "node check --repair") {
		t.Errorf("starting with a damaged store: %v", err)
	}
	if res, err := Check(ctx, dir, false, nil); err != nil || res.Sound || len(res.Faults) == 0 {
		t.Errorf("a damaged store: %+v, %v", res, err)
	}
	if res, err := Check(ctx, dir, true, nil); err != nil || !res.Sound || !res.Repaired || res.SetAside == "" {
		t.Errorf("repairing it: %+v, %v", res, err)
	}
	n, err = Start(Config{Dir: dir})
	if err != nil {
		t.Fatalf("starting after the repair: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
