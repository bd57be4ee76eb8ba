package client

import (
	"context"
	"errors"
	"time"

	"sotto/internal/directory"
	"sotto/internal/vault"
	"sotto/internal/wire"
)

// settingForks is where proofs of forked directories are kept.
const settingForks = "network/forks"

// foundFork is a proof and when it was found.
type foundFork struct {
	at   uint64 // Unix seconds
	fork *directory.Fork
}

// DirectoryFork is a proof that the network's key signed two different
// directories with one serial (spec/client.md §5.13).
type DirectoryFork struct {
	Serial  uint64          `json:"serial"`
	Found   time.Time       `json:"found"`
	Kept    DirectoryOfFork `json:"kept"`    // the one that was there first
	Refused DirectoryOfFork `json:"refused"` // the other one
	// Proof is what anybody can verify (spec/directory.md §4.6).
	Proof []byte `json:"proof"`
}

// DirectoryOfFork is one of the two.
type DirectoryOfFork struct {
	Issued time.Time `json:"issued"`
	Nodes  int       `json:"nodes"`
}

// Forks returns the proofs that the vault keeps, the oldest first.
func (c *Client) Forks(ctx context.Context) ([]DirectoryFork, error) {
	out := []DirectoryFork{}
	err := c.vault.View(ctx, func(tx *vault.Tx) error {
		found, err := readForks(tx)
		for _, f := range found {
			out = append(out, DirectoryFork{
				Serial: f.fork.Kept.Serial(), Found: time.Unix(int64(f.at), 0).UTC(),
				Kept: sideOf(f.fork.Kept), Refused: sideOf(f.fork.Refused), Proof: f.fork.Encode(),
			})
		}
		return err
	})
	return out, err
}

func sideOf(d *directory.Directory) DirectoryOfFork {
	return DirectoryOfFork{Issued: d.Issued(), Nodes: d.Len()}
}

// ForgetForks removes the proofs, and with them what Connection says of them.
func (c *Client) ForgetForks(ctx context.Context) error {
	err := c.vault.Update(ctx, func(tx *vault.Tx) error { return tx.SetSetting(settingForks, nil) })
	if err == nil {
		c.noteForked(false)
	}
	return err
}

// keepFork stores a proof: the first of each serial, at most MaxForks.
func keepFork(tx *vault.Tx, fork *directory.Fork, now time.Time) error {
	found, err := readForks(tx)
	if err != nil || len(found) >= directory.MaxForks {
		return err
	}
	for _, f := range found {
		if f.fork.Kept.Serial() == fork.Kept.Serial() {
			return nil
		}
	}
	found = append(found, foundFork{uint64(max(now.Unix(), 0)), fork})
	return tx.SetSetting(settingForks, encodeForks(found))
}

func readForks(tx *vault.Tx) ([]foundFork, error) {
	b, err := tx.Setting(settingForks)
	if errors.Is(err, vault.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeForks(b), nil
}

// encodeForks is, for each: when it was found, u64, and the proof, vec32.
func encodeForks(found []foundFork) []byte {
	var b []byte
	for _, f := range found {
		b = wire.AppendVec32(wire.AppendUint64(b, f.at), f.fork.Encode())
	}
	return b
}

// decodeForks takes what it understands and what proves something.
func decodeForks(b []byte) (found []foundFork) {
	r := wire.NewReader(b)
	for r.Len() > 0 && len(found) < directory.MaxForks {
		at, proof := r.Uint64(), r.Vec32(directory.MaxFork)
		if r.Err() != nil {
			break
		}
		if fork, err := directory.ParseFork(proof); err == nil {
			found = append(found, foundFork{at, fork})
		}
	}
	return found
}
