package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/internal/client"
	"sotto/internal/directory"
	"sotto/internal/suite"
)

// withForks is a session that knows of forks until it forgets them.
type withForks struct {
	session
	forks []client.DirectoryFork
}

func (w *withForks) Forks(context.Context) ([]client.DirectoryFork, error) { return w.forks, nil }

func aFork(t *testing.T) *directory.Fork {
	t.Helper()
	key, err := suite.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := directory.Local(directory.LocalConfig{Nodes: 6, Key: key, Created: time.Now().Truncate(time.Second), Port: 1, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	other := n.Document
	other.Nodes = append([]directory.Node(nil), other.Nodes...)
	other.Nodes[0].Operator = "mallory"
	forked, err := directory.SignDocument(key, other)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	refused, err := forked.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return &directory.Fork{Kept: kept, Refused: refused}
}

// A proof that is saved is shown by another command, which verifies it.
func TestForksAreShown(t *testing.T) {
	fork, dir := aFork(t), t.TempDir()
	var out, log bytes.Buffer
	o := &options{out: &out, err: &log}
	s := &withForks{forks: []client.DirectoryFork{{Kept: client.DirectoryOfFork{Nodes: 6}, Proof: fork.Encode()}}}
	if err := o.showForks(context.Background(), s, dir); err != nil || !strings.Contains(out.String(), "serial 0 was signed twice") {
		t.Fatalf("%q (%v)", out.String(), err)
	}
	out.Reset()
	path := filepath.Join(dir, "0.fork")
	if err := o.showNetwork(path); err != nil {
		t.Fatal(err)
	}
	id := fork.Kept.Nodes()[0].ID.String()
	if text := out.String(); strings.Count(text, id) != 2 || strings.Count(text, "only in the") != 2 || !strings.Contains(text, "mallory") {
		t.Errorf("shown as %q", text)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := o.showNetwork(path); err == nil {
		t.Error("what nobody signed is shown as a proof")
	}
	s.forks = nil
	if err := o.showForks(context.Background(), s, dir); err != nil || !strings.Contains(log.String(), "no directory was signed twice") {
		t.Errorf("%q (%v)", log.String(), err)
	}
}
