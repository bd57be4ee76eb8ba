package swarm

import (
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// lineage lists who keeps addresses now, and then who kept them, from the
// newest past directory to the oldest (spec/swarm.md §5.10), as the node self
// sees it.
type lineage struct {
	self   identity.NodeID
	levels []level
}

// level is what one directory says of who kept some addresses: a set of nodes
// for each swarm that kept any of them.
type level struct {
	serial uint64
	sets   [][]identity.NodeID
}

// known says of the nodes whose part was got in what state they gave it.
type known map[identity.NodeID]keeperState

// lineage is that of all this node's addresses.
func (v *view) lineage(self identity.NodeID) lineage {
	l := lineage{self, []level{{v.dir.Serial(), [][]identity.NodeID{idsOf(v.dir.Swarm(v.swarm))}}}}
	for _, d := range v.past {
		next := level{serial: d.Serial()}
		for _, from := range v.dir.Overlap(v.swarm, d) {
			next.sets = append(next.sets, idsOf(d.Swarm(from)))
		}
		l.levels = append(l.levels, next)
	}
	return l
}

// lineageOf is that of one address.
func (v *view) lineageOf(self identity.NodeID, a mailbox.Address) lineage {
	l := lineage{self, []level{{v.dir.Serial(), [][]identity.NodeID{idsOf(v.dir.SwarmOf(a))}}}}
	for _, d := range v.past {
		l.levels = append(l.levels, level{d.Serial(), [][]identity.NodeID{idsOf(d.SwarmOf(a))}})
	}
	return l
}

func idsOf(nodes []directory.Node) []identity.NodeID {
	ids := make([]identity.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	return ids
}

// nodes returns everybody in it.
func (l lineage) nodes() (ids []identity.NodeID) {
	for _, x := range l.levels {
		for _, set := range x.sets {
			for _, id := range set {
				if !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}

// settled reports whether those of whom got knows have between them everything
// that was acknowledged before the present directory. Of each set of keepers
// that is not the present one a majority must be among them: whatever it
// acknowledged, one of these has it. A level at which every set was whole then
// stands for all levels below. Of the present keepers, some of whom may know
// nothing yet, whole ones are enough by themselves. Where the levels end before the network began, deep says that nothing older matters.
func (l lineage) settled(got known, deep bool) bool {
	now := l.levels[0]
	if now.enough(got, nil) && now.whole(l.self, got) {
		return true
	}
	for _, past := range l.levels[1:] {
		if !past.enough(got, now.sets[0]) {
			return false
		}
		if past.whole(l.self, got) {
			return true
		}
	}
	return deep
}

// enough reports whether a majority of each set is known; the set that is
// excepted needs none.
func (x level) enough(got known, excepted []identity.NodeID) bool {
	for _, set := range x.sets {
		n := 0
		for _, id := range set {
			if k, ok := got[id]; ok && k.floor <= x.serial {
				n++
			}
		}
		if n < len(set)/2+1 && !slices.Equal(set, excepted) {
			return false
		}
	}
	return true
}

// found reports whether so many of the present keepers are known that nothing
// which a majority of them acknowledged, the one that lost its part among them,
// can be with the others alone (spec/swarm.md §5.12).
func (x level) found(got known) bool {
	set, n := x.sets[0], 0
	for _, id := range set {
		if k, ok := got[id]; ok && k.floor <= x.serial {
			n++
		}
	}
	return n >= min(len(set)-len(set)/2, len(set)-1)
}

// whole reports whether each set was whole: self, which is one of it, or a
// majority of it by their own words, since a few may lie.
func (x level) whole(self identity.NodeID, got known) bool {
	had := func(id identity.NodeID) bool { return slices.Contains(got[id].whole, x.serial) }
	for _, set := range x.sets {
		n := 0
		for _, id := range set {
			if had(id) {
				n++
			}
		}
		if n < len(set)/2+1 && !(slices.Contains(set, self) && had(self)) {
			return false
		}
	}
	return true
}

// deep reports whether no directory before those that the view knows matters:
// its oldest is the network's first, or what came before has expired since. That
// older ones were forgotten, as too many, says nothing of what lies with their nodes.
func (v *view) deep(now time.Time) bool {
	oldest := v.dir
	if n := len(v.past); n > 0 {
		oldest = v.past[n-1]
	}
	return oldest.Serial() == 0 || !now.Before(oldest.Issued().Add(directory.PastFor))
}
