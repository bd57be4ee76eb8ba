package swarm

import (
	"math/rand/v2"
	"slices"
	"testing"

	"sotto/internal/identity"
)

func nodeIDs(ns ...byte) (ids []identity.NodeID) {
	for _, n := range ns {
		ids = append(ids, identity.NodeID{n})
	}
	return ids
}

func got(serials map[byte][]uint64, floors map[byte]uint64) known {
	k := known{}
	for n, whole := range serials {
		k[identity.NodeID{n}] = keeperState{whole: whole, floor: floors[n]}
	}
	return k
}

func TestLineageSettles(t *testing.T) {
	now := level{9, [][]identity.NodeID{nodeIDs(1, 2, 3, 4, 6)}}
	before := level{5, [][]identity.NodeID{nodeIDs(1, 2, 3, 4, 5)}}
	two := level{3, [][]identity.NodeID{nodeIDs(1, 2, 3, 4, 5), nodeIDs(11, 12, 13)}}
	for name, test := range map[string]struct {
		line   []level
		got    map[byte][]uint64
		floors map[byte]uint64
		deep   bool
		want   bool
	}{
		"nobody":                        {[]level{now, before}, nil, nil, true, false},
		"a minority":                    {[]level{now, before}, map[byte][]uint64{6: nil, 1: nil, 5: nil}, nil, true, false},
		"a majority":                    {[]level{now, before}, map[byte][]uint64{1: nil, 2: nil, 5: nil}, nil, true, true},
		"one that dropped":              {[]level{now, before}, map[byte][]uint64{1: nil, 2: nil, 5: nil}, map[byte]uint64{5: 6}, true, false},
		"dropped before":                {[]level{now, before}, map[byte][]uint64{1: nil, 2: nil, 5: nil}, map[byte]uint64{5: 5}, true, true},
		"something older":               {[]level{now, before}, map[byte][]uint64{1: nil, 2: nil, 5: nil}, nil, false, false},
		"older, but whole":              {[]level{now, before}, map[byte][]uint64{1: {5}, 2: {5}, 5: {5}}, nil, false, true},
		"older, one says whole":         {[]level{now, before}, map[byte][]uint64{1: nil, 2: {5}, 5: nil}, nil, false, false},
		"older, two of five say whole":  {[]level{now, before}, map[byte][]uint64{1: nil, 2: {5}, 5: {5}}, nil, false, false},
		"whole at another time":         {[]level{now, before}, map[byte][]uint64{1: {4}, 2: {4}, 5: {4}}, nil, false, false},
		"a whole one is no majority":    {[]level{now, before}, map[byte][]uint64{1: {5}}, nil, true, false},
		"fellows, whole":                {[]level{now, before}, map[byte][]uint64{1: {9}, 2: {9}, 3: {9}, 6: nil}, nil, false, true},
		"fellows, one says whole":       {[]level{now, before}, map[byte][]uint64{1: nil, 2: {9}, 6: nil}, nil, false, false},
		"itself whole":                  {[]level{now, before}, map[byte][]uint64{1: nil, 2: nil, 6: {9}}, nil, false, true},
		"itself whole, in another set":  {[]level{now, before}, map[byte][]uint64{1: nil, 2: nil, 5: nil, 6: {5}}, nil, false, false},
		"fellows, none whole":           {[]level{now, {5, [][]identity.NodeID{nodeIDs(21, 22, 23)}}}, map[byte][]uint64{1: nil, 2: nil, 6: nil}, nil, true, false},
		"one of two sets":               {[]level{now, two}, map[byte][]uint64{1: nil, 2: nil, 3: nil, 11: nil}, nil, true, false},
		"both sets":                     {[]level{now, two}, map[byte][]uint64{1: nil, 2: nil, 3: nil, 11: nil, 13: nil}, nil, true, true},
		"the same members":              {[]level{now, {5, now.sets}}, nil, nil, true, true},
		"a level that stands for below": {[]level{now, before, two}, map[byte][]uint64{1: {5}, 2: {5}, 3: {5}}, nil, true, true},
		"a level that does not":         {[]level{now, before, two}, map[byte][]uint64{1: nil, 2: nil, 3: nil}, nil, true, false},
		"the first directory":           {[]level{now}, nil, nil, true, true},
		"unknown past":                  {[]level{now}, map[byte][]uint64{6: nil}, nil, false, false},
	} {
		if settled := (lineage{identity.NodeID{6}, test.line}).settled(got(test.got, test.floors), test.deep); settled != test.want {
			t.Errorf("%s: settled %v", name, settled)
		}
	}
}

// TestSettledFindsWhatWasAcknowledged changes one swarm's members at random, with
// nodes that adopt late, and checks of every settled node that it has what any
// majority had acknowledged: the argument of spec/swarm.md §5.10 as a model. Two
// nodes say always that they are whole, and nodes know a few past directories.
func TestSettledFindsWhatWasAcknowledged(t *testing.T) {
	settled, dropped := 0, 0
	for seed := range uint64(1500) {
		m := &model{r: rand.New(rand.NewPCG(seed, 7)), nodes: map[identity.NodeID]*modelNode{}, changes: 1 + int(seed)%modelChanges}
		m.directories = append(m.directories, m.draw(nil))
		for range 500 {
			m.step(t, seed)
		}
		m.finish(t, seed)
		settled, dropped = settled+m.settled, dropped+m.dropped
	}
	if settled < 1000 || dropped < 200 {
		t.Errorf("only %d nodes were ever settled, and %d copies dropped", settled, dropped)
	}
}

type modelNode struct {
	serial int
	floor  uint64
	whole  []uint64
	has    map[int]bool
	got    known
}

type model struct {
	r           *rand.Rand
	directories [][]identity.NodeID
	nodes       map[identity.NodeID]*modelNode
	acked       [][]int // by serial
	puts        int
	settled     int
	dropped     int
	changes     int // at most
}

// draw chooses the members of the next directory: most of the last, some new.
func (m *model) draw(last []identity.NodeID) []identity.NodeID {
	set := slices.Clone(last)
	for len(set) > 3 && m.r.IntN(3) > 0 {
		set = slices.Delete(set, 0, 1)
	}
	for len(set) < 5 {
		id := identity.NodeID{byte(m.r.IntN(12) + 1)}
		if !slices.Contains(set, id) {
			set = append(set, id)
		}
	}
	slices.SortFunc(set, func(a, b identity.NodeID) int { return int(a[0]) - int(b[0]) })
	m.acked = append(m.acked, nil)
	for _, id := range set {
		if m.nodes[id] == nil {
			m.nodes[id] = &modelNode{has: map[int]bool{}, got: known{}}
			if len(m.directories) > 0 {
				m.nodes[id].serial = len(m.directories)
			} else {
				m.nodes[id].whole = []uint64{0}
			}
		}
	}
	return set
}

const (
	modelChanges = 7
	modelPast    = 4 // that nodes know
)

// liars say that they were whole whenever that is asked.
var liars = nodeIDs(2, 9)

func (m *model) lineage(self identity.NodeID, serial int) (l lineage, deep bool) {
	oldest := max(0, serial-modelPast)
	l.self = self
	for s := serial; s >= oldest; s-- {
		l.levels = append(l.levels, level{uint64(s), [][]identity.NodeID{m.directories[s]}})
	}
	return l, oldest == 0
}

// says is what a node tells of itself.
func (m *model) says(id identity.NodeID) keeperState {
	n := m.nodes[id]
	whole := slices.Clone(n.whole)
	if slices.Contains(liars, id) {
		for s := range m.directories {
			whole = append(whole, uint64(s))
		}
	}
	return keeperState{whole: whole, floor: n.floor}
}

func (m *model) step(t *testing.T, seed uint64) {
	latest := len(m.directories) - 1
	switch k := m.r.IntN(20); {
	case k == 0 && latest < m.changes:
		m.directories = append(m.directories, m.draw(m.directories[latest]))
	case k < 6: // somebody adopts the newest
		n := m.any()
		if n.serial < latest {
			n.serial, n.got = latest, known{}
		}
	case k < 10: // a put under some directory, by those who have it and no other
		s := m.r.IntN(latest + 1)
		id, votes := m.puts, 0
		m.puts++
		for _, x := range m.directories[s] {
			if n := m.nodes[x]; n.serial == s && m.r.IntN(4) > 0 {
				n.has[id] = true
				votes++
			}
		}
		if votes > len(m.directories[s])/2 {
			m.acked[s] = append(m.acked[s], id)
		}
	case k < 12: // one that is no member drops what all members have got from it
		m.drop(m.anyID())
	default: // somebody gets another's part
		m.get(t, seed, m.anyID(), m.anyID())
	}
}

// get lets a node get another's part, and judges what it has once it is settled.
func (m *model) get(t *testing.T, seed uint64, id, from identity.NodeID) {
	n, o := m.nodes[id], m.nodes[from]
	if n.serial != o.serial || !slices.Contains(m.directories[n.serial], id) {
		return
	}
	for x := range o.has {
		n.has[x] = true
	}
	if from != id {
		n.got[from] = m.says(from)
	}
	n.got[id] = keeperState{whole: slices.Clone(n.whole), floor: n.floor}
	line, deep := m.lineage(id, n.serial)
	if n.serial == 0 || slices.Contains(n.whole, uint64(n.serial)) || !line.settled(n.got, deep) {
		return
	}
	n.whole = append(n.whole, uint64(n.serial))
	m.settled++
	for s := range n.serial {
		if slices.Equal(m.directories[s], m.directories[n.serial]) {
			continue // acknowledged among the same: members bring it to one another
		}
		for _, x := range m.acked[s] {
			if !n.has[x] {
				t.Fatalf("seed %d: settled under %d without put %d of %d", seed, n.serial, x, s)
			}
		}
	}
}

// finish lets everybody adopt the newest directory, but for those that had
// nothing left to hand over and were switched off, and expects its members to be
// settled once they have got one another's parts.
func (m *model) finish(t *testing.T, seed uint64) {
	latest := len(m.directories) - 1
	if latest > modelPast {
		return // it may have forgotten whom to ask
	}
	members := m.directories[latest]
	for id, n := range m.nodes {
		if off := n.floor > 0 && len(n.has) == 0 && !slices.Contains(members, id); !off && n.serial < latest {
			n.serial, n.got = latest, known{}
		}
	}
	for range 2 { // some are settled by others that are whole
		for _, id := range members {
			for from := range m.nodes {
				m.get(t, seed, id, from)
			}
		}
	}
	for _, id := range members {
		if latest > 0 && !slices.Contains(m.nodes[id].whole, uint64(latest)) {
			t.Fatalf("seed %d: %x is not settled under %d when all that run were asked", seed, id[:1], latest)
		}
	}
}

func (m *model) drop(id identity.NodeID) {
	n := m.nodes[id]
	members := m.directories[n.serial]
	waits := func(x identity.NodeID) bool {
		_, has := m.nodes[x].got[id]
		return m.nodes[x].serial != n.serial || !has || !slices.Contains(m.nodes[x].whole, uint64(n.serial))
	}
	if slices.Contains(members, id) || slices.ContainsFunc(members, waits) {
		return
	}
	m.dropped += len(n.has)
	n.has, n.floor = map[int]bool{}, uint64(n.serial)
	n.whole = slices.DeleteFunc(n.whole, func(s uint64) bool { return s < n.floor })
}

func (m *model) anyID() identity.NodeID {
	ids := make([]identity.NodeID, 0, len(m.nodes))
	for id := range m.nodes {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b identity.NodeID) int { return int(a[0]) - int(b[0]) })
	return ids[m.r.IntN(len(ids))]
}

func (m *model) any() *modelNode { return m.nodes[m.anyID()] }
