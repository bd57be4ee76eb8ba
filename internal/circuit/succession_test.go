package circuit

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/suite"
)

func pathOver(d *directory.Directory, guard, middle, exit int) directory.Path {
	n := d.Nodes()
	return directory.Path{Guard: n[guard], Middle: n[middle], Exit: n[exit]}
}

// A circuit over a node that has left the network takes nothing new, and ends
// when nothing stands on it; others stay, and the node is nobody's guard or
// middle any more.
func TestCircuitsFollowTheDirectory(t *testing.T) {
	now := start
	d := testDirectory(t, 12)
	m := planner(t, d, 16, &now)
	m.circuits = make(map[uint64]*circuit)
	gone := d.Nodes()[1]
	for id, path := range map[uint64]directory.Path{1: pathOver(d, 0, 1, 2), 2: pathOver(d, 0, 3, 4)} {
		c := looseCircuit(func([]byte) {})
		c.id, c.path, c.used, c.usedAt, c.lastUse, c.life = id, path, true, now, now, time.Hour
		c.retiring = make(chan struct{})
		m.circuits[id] = c
	}
	if ended, _ := m.ageLocked(now, d); len(ended) != 0 {
		t.Fatal("ended without a change")
	}
	key, err := suite.NewSigningKey(testRand(5))
	if err != nil {
		t.Fatal(err)
	}
	doc := d.Network().Document
	doc.Nodes = append(doc.Nodes[:1:1], doc.Nodes[2:]...)
	n, err := directory.SignDocument(key, doc)
	if err != nil {
		t.Fatal(err)
	}
	next, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	ended, _ := m.ageLocked(now, next)
	if !m.circuits[1].retired || !errors.Is(ended[m.circuits[1]], errUnlisted) || othersFault(ended[m.circuits[1]]) {
		t.Errorf("over the node that left: retired %v, ended for %v", m.circuits[1].retired, ended[m.circuits[1]])
	}
	if c := m.circuits[2]; c.retired || ended[c] != nil {
		t.Error("another circuit ended too")
	}
	if err := m.refreshLocked(now, next); err != nil {
		t.Fatal(err)
	}
	for _, g := range m.guards.usable(now, next) {
		if g.ID == gone.ID {
			t.Error("it is still a guard")
		}
	}
	if m.vanguards.find(gone.ID) != nil || len(m.vanguards.list) != vanguardCount {
		t.Error("it is still a vanguard, or was not replaced")
	}
}
