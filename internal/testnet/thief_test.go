package testnet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/internal/circuit"
	"sotto/internal/client"
	"sotto/internal/identity"
	"sotto/internal/padding"
	"sotto/internal/vault"
)

// TestThief takes the folder of a profile, while it is in use and afterwards,
// and looks for what its owner would not want found. The passphrase shows that
// all of it is there.
func TestThief(t *testing.T) {
	n := start(t, 15, 5, Config{})
	ada, ben := newPerson(t, n, "Ada Quillfeather", nil), newPerson(t, n, "Ben Thistlewood", nil)
	adaID := ada.ID()
	befriend(t, &ada.account, &ben.account)
	converse(t, ada, ben, 12)

	loot := filepath.Join(t.TempDir(), "loot")
	if err := os.CopyFS(loot, os.DirFS(ben.dir)); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(filepath.Join(loot, "*-wal")); err != nil || len(files) == 0 {
		t.Fatalf("the loot has no write-ahead log: %v", err)
	}
	ada.close(t)
	ben.close(t)

	needles, boxes := insights(t, ada, ben)
	raw, written := addresses(boxes)
	needles = append(append(needles, raw...), written...)
	needles = append(needles, needle{"the passphrase", []byte(testPassphrase)}, needle{"a SQLite header", []byte("SQLite format 3\x00")})
	for _, e := range n.Layout().Nodes { // guards are among them
		needles = append(needles, forms("a node's ID", e.Node.ID[:])...)
	}
	for _, dir := range []string{loot, ben.dir} {
		header, err := os.ReadFile(filepath.Join(dir, "vault.header"))
		if err != nil {
			t.Fatal(err)
		}
		known := needle{"the header", header[len(header)-16:]}
		found := newSearcher(append(needles, known)).files(t, dir)
		if !found[known.what] {
			t.Error("the search did not find the vault's own header: it does not search")
		}
		delete(found, known.what)
		for what := range found {
			t.Errorf("the profile's folder holds %s in the clear", what)
		}
		useless(t, dir)
	}
	readable(t, ben.dir, adaID)
}

// useless tries the vault without the passphrase, and the passphrase without
// the vault's header.
func useless(t *testing.T, dir string) {
	t.Helper()
	ctx := context.Background()
	for _, guess := range []string{"", "seven horses in a ro", "Seven horses in a row"} {
		if v, err := vault.Open(ctx, vault.Options{Dir: dir}, []byte(guess)); !errors.Is(err, vault.ErrPassphrase) {
			if err == nil {
				v.Close()
			}
			t.Errorf("with a wrong passphrase the vault says: %v", err)
		}
	}
	headless := filepath.Join(t.TempDir(), "headless")
	if err := os.CopyFS(headless, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(headless, "vault.header")); err != nil {
		t.Fatal(err)
	}
	// Another vault's header, of the same passphrase, opens nothing here.
	other := filepath.Join(t.TempDir(), "other")
	v, err := vault.Create(ctx, vault.Options{Dir: other, KDF: testKDF}, []byte(testPassphrase), func(tx *vault.Tx) error {
		return tx.SetAccount(vault.Account{Seed: make([]byte, 32)})
	})
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	header, err := os.ReadFile(filepath.Join(other, "vault.header"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(headless, "vault.header"), header, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := vault.Open(ctx, vault.Options{Dir: headless}, []byte(testPassphrase)); !errors.Is(err, vault.ErrDamaged) {
		if err == nil {
			v.Close()
		}
		t.Errorf("with another vault's header the vault says: %v", err)
	}
}

// offline is a thief's way to the network: none.
type offline struct{}

func (offline) OpenStream(context.Context, circuit.Isolation, []circuit.Isolation, identity.NodeID) (client.Stream, error) {
	return nil, circuit.ErrNoCircuit
}
func (offline) Paths() []client.Path   { return nil }
func (offline) SetCover(padding.Level) {}
func (offline) Chatting()              {}
func (offline) NewPath()               {}
func (offline) Close() error           { return nil }

// readable opens the stolen profile with the passphrase: what was searched for
// is all there, under the encryption.
func readable(t *testing.T, dir, peer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	app, err := client.OpenProfile(client.ProfileConfig{Dir: dir, Connect: func(client.NetworkConfig) (client.Network, error) {
		return offline{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if err := app.Unlock(ctx, testPassphrase); err != nil {
		t.Fatal(err)
	}
	c, err := app.Client()
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages(ctx, peer, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for _, m := range messages {
		if strings.Contains(m.Text, "over the reed beds") {
			texts++
		}
	}
	if texts != 24 {
		t.Errorf("with the passphrase, %d of 24 texts are there", texts)
	}
}
