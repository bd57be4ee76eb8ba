package circuit

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/onion"
)

// A node behind the guard that calls itself busy does not mark the client's other
// circuits by it: each build begins with nothing, and pays no hop but the one
// that is busy. Of the guard, which knows its client, the price is kept.
func TestPaymentsDoNotJoinCircuits(t *testing.T) {
	now := start
	m := planner(t, testDirectory(t, 10), 17, &now)
	m.efforts = newEfforts()
	nodes := m.cfg.Directory.Current().Nodes()
	busy := &ReasonError{onion.ReasonBusy}
	var pay payments
	for hop := 1; hop < hops; hop++ {
		for want := uint8(firstEffort); want < firstEffort+3; want++ {
			if !m.payMore(&buildError{hop: hop, node: nodes[hop], err: busy}, &pay) || pay[hop] != want {
				t.Fatalf("hop %d is paid %v, want %d", hop, pay, want)
			}
		}
	}
	for _, n := range nodes {
		if got := m.efforts.of(n.ID, now); got != 0 {
			t.Errorf("the next build begins with an effort of %d", got)
		}
	}
	if !m.payMore(&buildError{hop: 0, node: nodes[0], err: busy}, &pay) || m.efforts.of(nodes[0].ID, now) != firstEffort {
		t.Error("the guard's price is forgotten")
	}
	pay[1] = maxEffort
	at := &buildError{hop: 1, node: nodes[1], err: busy}
	if m.payMore(at, &pay) || !errors.Is(at, errTooDear) {
		t.Error("there is no bound for the middle")
	}
}

// What a busy guard is paid doubles up to a bound, and ends with its minute.
func TestEfforts(t *testing.T) {
	e, now, id := newEfforts(), time.Unix(1_800_000_000, 0), identity.NodeID{1}
	if got := e.of(id, now); got != 0 {
		t.Fatalf("paid %d before it was busy", got)
	}
	for want := uint8(firstEffort); want <= maxEffort; want++ {
		paid := e.of(id, now)
		if next, ok := e.raise(id, paid, now); !ok || next != want || e.of(id, now) != want {
			t.Fatalf("after %d: %d, want %d", paid, e.of(id, now), want)
		}
	}
	if _, ok := e.raise(id, e.of(id, now), now); ok {
		t.Error("there is no bound")
	}
	if got := e.of(id, now); got != 0 {
		t.Errorf("a node that was too dear gets %d", got)
	}
	e.raise(id, 16, now)
	// A build that began before.
	if next, _ := e.raise(id, 0, now); next != 17 || e.of(id, now) != 17 {
		t.Errorf("two builds at once: %d and %d, want the dearer's 17", next, e.of(id, now))
	}
	if got := e.of(id, now.Add(effortFor+1)); got != 0 {
		t.Errorf("long after it was busy: %d", got)
	}
	if len(e.nodes) != 0 {
		t.Error("a node that is paid nothing is remembered")
	}
}
