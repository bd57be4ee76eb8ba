package node

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// The files of a node's folder (docs/operating.md).
const (
	identityFile = "identity.key" // hex seed of the Ed25519 identity key
	onionFile    = "onion.key"    // hex scalar of the X25519 onion key
	networkFile  = "network.json" // the newest signed directory (folder.go)
	runFile      = "run.json"     // what the running process listens on
	storeDir     = "store"        // the mailboxes, locked while a process uses them
)

// maxKeyFile bounds a key file: 64 hex digits and a line end.
const maxKeyFile = 80

// Keys are a node's two long-term secrets.
type Keys struct {
	Identity suite.SigningKey
	Onion    suite.DHPrivate
}

// ID returns the node's ID.
func (k Keys) ID() identity.NodeID { return identity.NodeID(k.Identity.Public()) }

// WriteDir lays out a new node's folder. It refuses one that holds keys: an
// identity that was overwritten cannot come back.
func WriteDir(dir string, keys Keys, network []byte) error {
	if err := writeKeys(dir, keys); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, networkFile), network, 0o600); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

// MakeKeys returns the keys of a node's folder, and makes them if it has none.
func MakeKeys(dir string, rand io.Reader) (k Keys, err error) {
	if _, err := os.Lstat(filepath.Join(dir, identityFile)); !errors.Is(err, fs.ErrNotExist) {
		return ReadKeys(dir)
	}
	if k.Identity, err = suite.NewSigningKey(rand); err != nil {
		return k, err
	}
	if k.Onion, err = suite.NewDHPrivate(rand); err != nil {
		return k, err
	}
	return k, writeKeys(dir, k)
}

func writeKeys(dir string, keys Keys) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := WriteKey(filepath.Join(dir, onionFile), keys.Onion.Bytes()); err != nil {
		return err
	}
	return WriteKey(filepath.Join(dir, identityFile), keys.Identity.Seed())
}

// WriteKey writes a key in hex to a new file; it never replaces one.
func WriteKey(path string, secret []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// ReadKeys reads the keys of a node's folder.
func ReadKeys(dir string) (Keys, error) {
	var k Keys
	seed, err := ReadKey(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("%s is not a node's folder (sotto node init and sotto testnet up make them): %w", dir, err)
	}
	if err != nil {
		return k, err
	}
	if k.Identity, err = suite.SigningKeyFrom(seed); err != nil {
		return k, err
	}
	scalar, err := ReadKey(filepath.Join(dir, onionFile))
	if err != nil {
		return k, err
	}
	k.Onion, err = suite.DHPrivateFrom(scalar)
	return k, err
}

// ReadKey reads a key in hex from a file. Its errors never hold the content.
func ReadKey(path string) ([]byte, error) {
	b, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	key := make([]byte, hex.DecodedLen(len(b)))
	if _, err := hex.Decode(key, b); err != nil {
		return nil, fmt.Errorf("node: %s is not a key in hex", filepath.Base(path)) // never the content
	}
	return key, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("node: %s has %d bytes, at most %d", filepath.Base(path), info.Size(), limit)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return b, nil
}

// RunInfo is what a running node tells of itself in its folder.
type RunInfo struct {
	PID     int    `json:"pid"`
	Metrics string `json:"metrics"` // host and port of /metrics and /healthz
	Run     string `json:"run"`     // what these pages name themselves by
}

// ReadRunInfo returns what the node that runs in dir wrote, or an error
// wrapping fs.ErrNotExist before it is ready.
func ReadRunInfo(dir string) (RunInfo, error) {
	var info RunInfo
	b, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(b, &info)
}

// writeRunInfo replaces the file in one step, so that no reader sees half.
func writeRunInfo(dir string, info RunInfo) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return ReplaceFile(filepath.Join(dir, runFile), b)
}
