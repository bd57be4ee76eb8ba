package relay

import (
	"slices"
	"sync"

	"sotto/internal/identity"
)

// targets counts an exit's streams to each node, and shares out what there is
// between circuits, so that some of them cannot keep the others from a node
// (spec/circuit.md §4.10).
type targets struct {
	max int

	mu     sync.Mutex // guards what follows
	byNode map[identity.NodeID]*target
}

// target is one node.
type target struct {
	total    int
	circuits map[*circuit][]*stream // oldest first
}

// enter gives s a place. When there is none, the newest stream of the circuit
// with the most is to end in its favour, if that has at least two more.
func (t *targets) enter(s *stream) (victim *stream, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byNode == nil {
		t.byNode = make(map[identity.NodeID]*target)
	}
	at := t.byNode[s.target]
	if at == nil {
		at = &target{circuits: make(map[*circuit][]*stream)}
		t.byNode[s.target] = at
	}
	if at.total >= t.max {
		if victim = at.greediest(); len(at.circuits[victim.c]) <= len(at.circuits[s.c])+1 {
			return nil, false
		}
		t.removeLocked(victim)
	}
	at.total++
	at.circuits[s.c] = append(at.circuits[s.c], s)
	return victim, true
}

// greediest returns the newest stream of the circuit with the most.
func (t *target) greediest() *stream {
	var most []*stream
	for _, list := range t.circuits {
		if len(list) > len(most) {
			most = list
		}
	}
	return most[len(most)-1]
}

// leave gives the place of s up, if it still has it.
func (t *targets) leave(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(s)
}

func (t *targets) removeLocked(s *stream) {
	at := t.byNode[s.target]
	if at == nil {
		return
	}
	list := at.circuits[s.c]
	i := slices.Index(list, s)
	if i < 0 {
		return
	}
	if at.total--; at.total == 0 {
		delete(t.byNode, s.target)
		return
	}
	if at.circuits[s.c] = slices.Delete(list, i, i+1); len(list) == 1 {
		delete(at.circuits, s.c)
	}
}

// len counts all streams.
func (t *targets) len() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range t.byNode {
		n += at.total
	}
	return n
}
