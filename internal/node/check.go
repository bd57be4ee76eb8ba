package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sotto/internal/swarm/store"
)

// CheckResult is what Check found in a node's store. It names no mailbox.
type CheckResult struct {
	Sound      bool              `json:"sound"`
	Repaired   bool              `json:"repaired"`
	Mailboxes  uint64            `json:"mailboxes"`
	Grants     uint64            `json:"grants"`
	Envelopes  uint64            `json:"envelopes"`
	Tombstones uint64            `json:"tombstones"`
	Bytes      uint64            `json:"bytes"`
	Faults     map[string]uint64 `json:"faults"`
	// SetAside is the folder of a damaged store that was repaired, if there is one.
	SetAside string `json:"set_aside,omitempty"`
}

// Check looks at every row of the store in a node's folder, and repairs it if
// told to. It returns an error wrapping store.ErrInUse while the node runs, and
// one wrapping fs.ErrNotExist for a folder without a store. Progress, if not
// nil, hears of bytes looked at and bytes in all.
func Check(ctx context.Context, dir string, repair bool, progress func(done, total uint64)) (CheckResult, error) {
	path := filepath.Join(dir, storeDir)
	res, err := check(ctx, path, progress)
	if err != nil || res.Sound || !repair {
		return res, err
	}
	if err := store.Repair(ctx, path, store.Options{}); err != nil {
		return res, fmt.Errorf("node: %w", err)
	}
	found := res.Faults
	if res, err = check(ctx, path, nil); err != nil {
		return res, err
	}
	res.Repaired, res.Faults = res.Sound, found
	return res, nil
}

func check(ctx context.Context, path string, progress func(done, total uint64)) (CheckResult, error) {
	r, err := store.Verify(ctx, path, store.Options{}, progress)
	res := CheckResult{
		Mailboxes: r.Mailboxes, Grants: r.Grants, Envelopes: r.Envelopes, Tombstones: r.Tombstones, Bytes: r.Bytes,
		Faults: map[string]uint64{},
	}
	for f, n := range r.Faults {
		res.Faults[string(f)] = n
	}
	if _, serr := os.Stat(path + store.SuffixDamaged); serr == nil {
		res.SetAside = path + store.SuffixDamaged
	} else if !errors.Is(serr, fs.ErrNotExist) {
		return res, fmt.Errorf("node: %w", serr)
	}
	switch {
	case errors.Is(err, store.ErrDamaged):
		res.Faults["store that cannot be opened"]++
	case err != nil:
		return res, fmt.Errorf("node: %w", err)
	}
	res.Sound = len(res.Faults) == 0
	return res, nil
}
