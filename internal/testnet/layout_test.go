package testnet

import (
	"crypto/rand"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/node"
	"sotto/internal/suite"
)

// TestOpenFindsWhoIsListedNow: a network from which nodes left and which others
// joined has gaps in its numbers, and each of its nodes gets the newest file.
func TestOpenFindsWhoIsListedNow(t *testing.T) {
	l, err := Prepare(t.TempDir(), 6, 6)
	if err != nil {
		t.Fatal(err)
	}
	joiner := Entry{Dir: nodeDir(l.Dir, 9)}
	keys, err := node.MakeKeys(joiner.Dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	joiner.Node = directory.Node{
		ID: keys.ID(), Operator: "nine", OnionKey: keys.Onion.Public(),
		Addr: netip.AddrPortFrom(address(9), l.Nodes[0].Node.Addr.Port()),
	}
	l.change(t, directory.Change{Join: []directory.Node{joiner.Node}, Leave: []identity.NodeID{l.Nodes[2].Node.ID}})
	again, err := Open(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	want := append(append(append([]Entry{}, l.Nodes[:2]...), l.Nodes[3:]...), joiner)
	if len(again.Nodes) != len(want) {
		t.Fatalf("%d nodes, want %d", len(again.Nodes), len(want))
	}
	for i, e := range again.Nodes {
		if e.Node.ID != want[i].Node.ID || e.Dir != want[i].Dir {
			t.Errorf("node %d is %v in %s, want %v in %s", i, e.Node.ID, e.Dir, want[i].Node.ID, want[i].Dir)
		}
	}
	if err := again.give(); err != nil {
		t.Fatal(err)
	}
	for _, e := range again.Nodes {
		if s := serialIn(t, e.Dir); s != 1 {
			t.Errorf("%s has serial %d, want 1", e.Dir, s)
		}
	}
	if s := serialIn(t, l.Nodes[2].Dir); s != 0 {
		t.Errorf("the node that left was given serial %d", s)
	}

	// Nobody is found who is not at an address of a local network.
	joiner.Node.Addr = netip.MustParseAddrPort("192.0.2.1:4433")
	l.change(t, directory.Change{Join: []directory.Node{joiner.Node}})
	if _, err := Open(l.Dir); err == nil {
		t.Error("a node elsewhere was taken for a local one")
	}
}

// change signs the network's next file.
func (l *Layout) change(t *testing.T, c directory.Change) {
	t.Helper()
	seed, err := node.ReadKey(filepath.Join(l.Dir, KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := suite.SigningKeyFrom(seed)
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Network.Directory()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := d.Plan(rand.Reader, time.Now(), c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := directory.SignDocument(key, plan.Document)
	if err != nil {
		t.Fatal(err)
	}
	next := &Layout{Dir: l.Dir, Network: n}
	if err := next.write(); err != nil {
		t.Fatal(err)
	}
}

func serialIn(t *testing.T, dir string) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, NetworkFile))
	if err != nil {
		t.Fatal(err)
	}
	n, err := directory.ParseNetwork(b)
	if err != nil {
		t.Fatal(err)
	}
	return n.Document.Serial
}
