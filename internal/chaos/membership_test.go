package chaos

import (
	"slices"
	"testing"

	"sotto/internal/directory"
)

// TestSuccessionsFit: there are enough nodes to leave in the smallest network,
// nobody leaves before joining, and those of the probers never do.
func TestSuccessionsFit(t *testing.T) {
	joins, leaves := 0, 0
	for _, s := range successions {
		joins, leaves = joins+s.join, leaves+s.leave
	}
	w := &world{machines: &machines{}}
	for range directory.MinLocal + joins {
		w.machines.all = append(w.machines.all, new(machine))
	}
	for n := range joins {
		w.spares = append(w.spares, directory.MinLocal+1+n)
	}
	leavers := w.leavers()
	if len(leavers) < leaves || len(slices.Compact(slices.Sorted(slices.Values(leavers)))) != len(leavers) {
		t.Errorf("%d leave of %v", leaves, leavers)
	}
	for _, n := range steadfast {
		if slices.Contains(leavers, n) {
			t.Errorf("node %d leaves", n)
		}
	}
}
