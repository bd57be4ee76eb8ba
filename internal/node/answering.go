package node

import (
	"sync"

	"sotto/internal/identity"
)

// answering counts the questions that are being answered, so that neither all
// nodes together nor one of them can keep this one busy with answers.
type answering struct {
	mu  sync.Mutex // guards what follows
	all int
	of  map[identity.NodeID]int
}

// begin reports whether one more question of a node may be answered now. Who
// begins ends.
func (a *answering) begin(id identity.NodeID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= maxAnswering || a.of[id] >= maxAnsweringOne {
		return false
	}
	if a.of == nil {
		a.of = make(map[identity.NodeID]int)
	}
	a.all++
	a.of[id]++
	return true
}

func (a *answering) end(id identity.NodeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
	if a.of[id]--; a.of[id] == 0 {
		delete(a.of, id)
	}
}
