package circuit

import (
	"testing"

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
