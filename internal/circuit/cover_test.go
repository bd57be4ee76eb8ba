package circuit

import (
	"testing"
	"time"

	"sotto/internal/onion"
	"sotto/internal/padding"
)

// A middle that sends DROPs of its own learns nothing of the exit's by what the
// client says after them.
func TestDropsAreCountedByHop(t *testing.T) {
	c := looseCircuit(func([]byte) {})
	drop := func(hop, times int) {
		for range times {
			if err := c.droppedLocked(hop, onion.Drop()); err != nil {
				t.Fatal(err)
			}
		}
	}
	drop(middleHop, onion.CircuitStep-1)
	drop(exitHop, onion.CircuitStep-1)
	if len(c.trains) != 0 {
		t.Fatalf("%d trains before a window's worth of any hop", len(c.trains))
	}
	drop(exitHop, 1)
	if len(c.trains) != 1 || c.trains[0] != (train{exitHop, padding.SendmeTrain, nil}) {
		t.Fatalf("after the exit's: %+v", c.trains)
	}
}

// A guard knows which circuits receive. Dummies that look like puts go where
// puts go, and those that look like pushes come where pushes come.
func TestDummiesGoWhereMessagesGo(t *testing.T) {
	now := start
	m := planner(t, testDirectory(t, 10), 18, &now)
	m.inUse = m.guards.list[0].id
	m.circuits = make(map[uint64]*circuit)
	var receiving, sending []*circuit
	for i := range 6 {
		c := looseCircuit(func([]byte) {})
		c.path.Guard, _ = m.cfg.Directory.Current().Node(m.inUse)
		if c.vanguard = i < 2; c.vanguard {
			receiving = append(receiving, c)
		} else {
			sending = append(sending, c)
		}
		m.circuits[uint64(i)] = c
	}
	for range 50 {
		if err := m.sendDummy(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range receiving {
		if len(c.trains) != 0 {
			t.Error("a put on a circuit for receiving")
		}
	}
	for _, c := range sending {
		if len(c.trains) == 0 {
			t.Error("no put on a circuit for sending")
		}
		c.trains = nil
	}
	m.tellHops(time.Minute, now)
	now = now.Add(tellWithin)
	m.tellHops(time.Minute, now)
	for _, c := range receiving {
		if want := padding.Share(time.Minute, len(receiving)); c.told != want || len(c.trains) != 2 {
			t.Errorf("a circuit for receiving is told %v by %d cells, want %v", c.told, len(c.trains), want)
		}
	}
	for _, c := range sending {
		if c.told != 0 || len(c.trains) != 0 {
			t.Errorf("a circuit for sending is told %v", c.told)
		}
	}
}
