package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sotto/internal/directory"
)

const (
	// forksDir holds, within a node's folder, proofs that the network's key
	// signed two directories with one serial, one file for each serial.
	forksDir = "forks"
	// ForkSuffix ends their names.
	ForkSuffix = ".fork"
)

// keepFork stores a proof: the first of each serial, at most MaxForks.
func (f *folder) keepFork(fork *directory.Fork) error {
	have, err := f.forks()
	path := filepath.Join(f.dir, forksDir, strconv.FormatUint(fork.Kept.Serial(), 10)+ForkSuffix)
	if err != nil || have >= directory.MaxForks {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return ReplaceFile(path, fork.Encode())
}

// forks counts the proofs.
func (f *folder) forks() (n int, err error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, forksDir))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("node: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ForkSuffix) && !strings.HasPrefix(name, ".") {
			n++
		}
	}
	return n, nil
}
