package circuit

import (
	"testing"
	"time"

	"sotto/internal/identity"
)

// What a busy node is paid doubles up to a bound, and ends with its minute.
func TestEfforts(t *testing.T) {
	e, now, id := newEfforts(), time.Unix(1_800_000_000, 0), identity.NodeID{1}
	if got := e.of(id, now); got != 0 {
		t.Fatalf("paid %d before it was busy", got)
	}
	for want := uint8(firstEffort); want <= maxEffort; want++ {
		paid := e.of(id, now)
		if !e.raise(id, paid, now) || e.of(id, now) != want {
			t.Fatalf("after %d: %d, want %d", paid, e.of(id, now), want)
		}
	}
	if e.raise(id, e.of(id, now), now) {
		t.Error("there is no bound")
	}
	if got := e.of(id, now); got != 0 {
		t.Errorf("a node that was too dear gets %d", got)
	}
	e.raise(id, 16, now)
	e.raise(id, 0, now) // a build that began before
	if got := e.of(id, now); got != 17 {
		t.Errorf("two builds at once: %d, want the dearer's 17", got)
	}
	if got := e.of(id, now.Add(effortFor+1)); got != 0 {
		t.Errorf("long after it was busy: %d", got)
	}
	if len(e.nodes) != 0 {
		t.Error("a node that is paid nothing is remembered")
	}
}
