package testnet

import (
	"os"
	"path/filepath"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// TestGrowAndChange: the next directory lists who joined and nobody who left,
// is signed by the network's key, and is where it was given.
func TestGrowAndChange(t *testing.T) {
	l, err := Prepare(t.TempDir(), 6, 5)
	if err != nil {
		t.Fatal(err)
	}
	before, err := l.Network.Directory()
	if err != nil {
		t.Fatal(err)
	}
	e, err := l.Grow()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := before.Node(e.Node.ID); ok || len(l.Nodes) != 7 {
		t.Fatalf("node of %d is listed before it joins: %v", len(l.Nodes), ok)
	}
	gone := l.Nodes[5].Node.ID
	if _, err := l.Change(directory.Change{Join: []directory.Node{e.Node}, Leave: []identity.NodeID{gone}}, 1, 7); err != nil {
		t.Fatal(err)
	}
	live := directory.NewLive(before, nil)
	for _, path := range []string{l.File(), filepath.Join(l.Nodes[0].Dir, NetworkFile), filepath.Join(e.Dir, NetworkFile)} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := directory.ParseNetwork(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := live.Check(n); err != nil {
			t.Errorf("%s is no successor: %v", path, err)
		}
		after, err := n.Directory()
		if err != nil {
			t.Fatal(err)
		}
		_, joined := after.Node(e.Node.ID)
		_, stayed := after.Node(gone)
		if !joined || stayed {
			t.Errorf("%s: the new node is listed: %v; the old one still is: %v", path, joined, stayed)
		}
	}
}
