package directory_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/suite"
)

func address(i int) (a [32]byte) {
	binary.BigEndian.PutUint64(a[:], uint64(i))
	return a
}

func TestPlacementIsEven(t *testing.T) {
	d := verified(t, local(t, 50, 5))
	const addresses = 5000
	counts := make(map[directory.SwarmID]int)
	for i := range addresses {
		counts[d.SwarmIDOf(address(i))]++
	}
	mean := addresses / len(d.Swarms())
	for _, id := range d.Swarms() {
		if counts[id] < mean/3 || counts[id] > 2*mean {
			t.Errorf("swarm %d keeps %d of %d addresses; the mean is %d", id, counts[id], addresses, mean)
		}
	}
}

// A new swarm takes addresses for itself and moves no others.
func TestNewSwarmMovesOnlyItsOwn(t *testing.T) {
	n := local(t, 20, 5)
	before := verified(t, n)
	g := n.Document
	for i := range g.Nodes {
		if g.Nodes[i].Swarm == 3 && i%2 == 0 {
			g.Nodes[i].Swarm = 99
		}
	}
	key, _ := suite.NewSigningKey(stream(3))
	n2, err := directory.SignDocument(key, g)
	if err != nil {
		t.Fatal(err)
	}
	after := verified(t, n2)
	moved := 0
	for i := range 5000 {
		was, is := before.SwarmIDOf(address(i)), after.SwarmIDOf(address(i))
		if was != is {
			moved++
			if is != 99 {
				t.Fatalf("address %d moved from swarm %d to %d", i, was, is)
			}
		}
	}
	if moved == 0 || moved > 5000/2 {
		t.Fatalf("%d of 5000 addresses moved", moved)
	}
}

// Overlap finds every pair of swarms that thousands of addresses show, and none
// that shares no address, which is checked by the sizes of the rings' pieces.
func TestOverlapFindsWhereMailboxesGo(t *testing.T) {
	n := local(t, 40, 5)
	before := verified(t, n)
	g := n.Document
	for i := range g.Nodes { // one swarm is dissolved, another is split
		switch s := g.Nodes[i].Swarm; {
		case s == 2:
			g.Nodes[i].Swarm = 40
		case s == 5 && i%2 == 0:
			g.Nodes[i].Swarm = 41
		}
	}
	key, _ := suite.NewSigningKey(stream(3))
	n2, err := directory.SignDocument(key, g)
	if err != nil {
		t.Fatal(err)
	}
	after := verified(t, n2)
	seen := make(map[[2]directory.SwarmID]bool)
	for i := range 200_000 {
		seen[[2]directory.SwarmID{before.SwarmIDOf(address(i)), after.SwarmIDOf(address(i))}] = true
	}
	found := make(map[[2]directory.SwarmID]bool)
	for _, from := range before.Swarms() {
		for _, to := range before.Overlap(from, after) {
			found[[2]directory.SwarmID{from, to}] = true
			if !slices.Contains(after.Overlap(to, before), from) {
				t.Errorf("from %d to %d, but not back", from, to)
			}
		}
	}
	for pair := range seen {
		if !found[pair] {
			t.Errorf("addresses go from swarm %d to %d, and Overlap doesn't say so", pair[0], pair[1])
		}
	}
	if extra := len(found) - len(seen); extra > len(found)/4 {
		t.Errorf("%d of %d pairs share no address", extra, len(found))
	}
	if got := before.Overlap(99, after); got != nil {
		t.Errorf("a swarm that is not there overlaps %v", got)
	}
}

func TestSwarmMembership(t *testing.T) {
	d := verified(t, local(t, 15, 5))
	for i := range 50 {
		a := address(i)
		members := d.SwarmOf(a)
		if len(members) != 5 {
			t.Fatalf("swarm of %d members", len(members))
		}
		in := 0
		for _, n := range d.Nodes() {
			if d.InSwarmOf(n.ID, a) {
				in++
			}
		}
		if in != len(members) {
			t.Fatalf("%d nodes say that they are members, want %d", in, len(members))
		}
	}
}
