package directory

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sotto/internal/identity"
)

// MinSwarm is the fewest members of a swarm that a plan leaves, where there are
// nodes enough: a majority of five survives the loss of two.
const MinSwarm = 5

// ErrChange is wrapped when a change cannot be made; the text says why.
var ErrChange = errors.New("directory: no such change can be made")

// Change says who joins and who leaves (spec/directory.md §5.7).
type Change struct {
	// Join holds new nodes, whose Swarm is not looked at, and listed ones whose
	// entry has changed, which keep their place.
	Join  []Node
	Leave []identity.NodeID
}

// Plan is the next document of a network and what it changes.
type Plan struct {
	Document  Document
	Joined    []identity.NodeID
	Updated   []identity.NodeID
	Left      []identity.NodeID
	Moved     []Move // nodes that stay and change swarms
	Created   []SwarmID
	Dissolved []SwarmID
	// Share is the part of all addresses that another swarm keeps afterwards.
	Share float64
}

// Move is a node that changes swarms.
type Move struct {
	Node     identity.NodeID
	From, To SwarmID
}

// Plan returns the next document after a change, issued at now: every swarm
// has MinSwarm to MaxSwarm members as far as the number of nodes allows, with
// the fewest swarms created or dissolved, and of all ways to that one that
// moves the fewest nodes. What this leaves open is drawn from rand, never taken
// from a node's key, which its owner chose. The errors wrap ErrChange or
// ErrInvalid.
func (d *Directory) Plan(rand io.Reader, now time.Time, c Change) (*Plan, error) {
	p := &planner{old: d, rand: rand, members: make(map[SwarmID][]Node), Plan: &Plan{}}
	if err := p.apply(c); err != nil {
		return nil, err
	}
	if err := p.arrange(); err != nil {
		return nil, err
	}
	return p.finish(now)
}

// planner holds one change under way.
type planner struct {
	*Plan
	old     *Directory
	rand    io.Reader
	members map[SwarmID][]Node // of the swarms that stay or are created
	waiting []Node             // have no swarm: they joined, or theirs was dissolved
}

// apply takes the leavers out, puts changed entries in and lets joiners wait.
func (p *planner) apply(c Change) error {
	leaves := make(map[identity.NodeID]bool, len(c.Leave))
	for _, id := range c.Leave {
		if _, ok := p.old.Node(id); !ok || leaves[id] {
			return fmt.Errorf("%w: node %v is to leave and is not listed, or named twice", ErrChange, id)
		}
		leaves[id] = true
	}
	p.Left = slices.Clone(c.Leave)
	changed := make(map[identity.NodeID]Node, len(c.Join))
	for _, n := range c.Join {
		if _, twice := changed[n.ID]; twice || leaves[n.ID] {
			return fmt.Errorf("%w: node %v is named twice", ErrChange, n.ID)
		}
		changed[n.ID] = n
		if _, listed := p.old.Node(n.ID); listed {
			p.Updated = append(p.Updated, n.ID)
			continue
		}
		p.Joined = append(p.Joined, n.ID)
		p.waiting = append(p.waiting, n)
	}
	for id := range p.old.swarms {
		p.members[id] = nil // stays, even if all of its members leave
	}
	for _, n := range p.old.nodes {
		if u, ok := changed[n.ID]; ok {
			u.Swarm = n.Swarm
			n = u
		}
		if !leaves[n.ID] {
			p.members[n.Swarm] = append(p.members[n.Swarm], n)
		}
	}
	return nil
}

// arrange decides how many swarms there are and who is in which.
func (p *planner) arrange() error {
	nodes := len(p.waiting)
	for _, m := range p.members {
		nodes += len(m)
	}
	if nodes == 0 {
		return fmt.Errorf("%w: no node would be left", ErrChange)
	}
	// The largest size is a rule of the format, the smallest a wish: 8 and 9
	// nodes make two swarms of fewer than five.
	least := (nodes + MaxSwarm - 1) / MaxSwarm
	most := max(least, nodes/MinSwarm)
	if err := p.dissolve(len(p.members) - most); err != nil {
		return err
	}
	if err := p.create(least - len(p.members)); err != nil {
		return err
	}
	if err := p.fill(min(MinSwarm, nodes/len(p.members))); err != nil {
		return err
	}
	return p.place()
}

// dissolve takes the n smallest swarms apart: of all choices that moves the
// fewest nodes and leaves the fewest places to fill.
func (p *planner) dissolve(n int) error {
	for range n {
		smallest := MaxSwarm
		for _, m := range p.members {
			smallest = min(smallest, len(m))
		}
		id, err := p.draw(func(id SwarmID) bool { return len(p.members[id]) == smallest })
		if err != nil {
			return err
		}
		p.waiting = append(p.waiting, p.members[id]...)
		delete(p.members, id)
		p.Dissolved = append(p.Dissolved, id)
	}
	return nil
}

// create adds n swarms, without members yet. Their numbers are drawn, and with
// them their places on the ring.
func (p *planner) create(n int) error {
	for n > 0 {
		v, err := uniform(p.rand, 1<<16)
		if err != nil {
			return err
		}
		id := SwarmID(v)
		if _, used := p.members[id]; used || len(p.old.swarms[id]) > 0 {
			continue
		}
		p.members[id] = nil
		p.Created = append(p.Created, id)
		n--
	}
	return nil
}

// fill brings every swarm to least members: with those that wait, and when
// none is left, with members of swarms that have more.
func (p *planner) fill(least int) error {
	for _, id := range p.ids() {
		for len(p.members[id]) < least {
			if len(p.waiting) > 0 {
				if err := p.takeWaiting(id); err != nil {
					return err
				}
				continue
			}
			if err := p.takeMember(id, least); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeWaiting gives a swarm the waiting node that conflicts with the fewest of
// its members.
func (p *planner) takeWaiting(to SwarmID) error {
	i, err := best(p.rand, len(p.waiting), func(i int) int { return p.conflicts(p.waiting[i], to) })
	if err != nil {
		return err
	}
	p.members[to] = append(p.members[to], p.waiting[i])
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return nil
}

// takeMember gives a swarm a member of another one with more than least: the
// one that leaves the fewest conflicts on both sides. There is one, since least
// times the number of swarms is no more than the nodes.
func (p *planner) takeMember(to SwarmID, least int) error {
	type place struct {
		swarm SwarmID
		i     int
	}
	var from []place
	for _, id := range p.ids() {
		for i := range p.members[id] {
			if len(p.members[id]) > least {
				from = append(from, place{id, i})
			}
		}
	}
	k, err := best(p.rand, len(from), func(k int) int {
		n := p.members[from[k].swarm][from[k].i]
		return p.conflicts(n, to) - p.conflicts(n, from[k].swarm)
	})
	if err != nil {
		return err
	}
	f := from[k]
	n := p.members[f.swarm][f.i]
	p.members[f.swarm] = slices.Delete(p.members[f.swarm], f.i, f.i+1)
	p.members[to] = append(p.members[to], n)
	return nil
}

// place draws a swarm with room for each node that still waits, among those
// where it conflicts with the fewest. Sizes do not count: who sees which swarm
// is smallest must not know where a node will come.
func (p *planner) place() error {
	for len(p.waiting) > 0 {
		i, err := uniform(p.rand, len(p.waiting))
		if err != nil {
			return err
		}
		n := p.waiting[i]
		ids := slices.DeleteFunc(p.ids(), func(id SwarmID) bool { return len(p.members[id]) >= MaxSwarm })
		k, err := best(p.rand, len(ids), func(k int) int { return p.conflicts(n, ids[k]) })
		if err != nil {
			return err
		}
		p.members[ids[k]] = append(p.members[ids[k]], n)
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	return nil
}

// conflicts counts the members of a swarm, but for n itself, that share n's
// operator or network.
func (p *planner) conflicts(n Node, swarm SwarmID) (count int) {
	for _, m := range p.members[swarm] {
		if m.ID != n.ID && Conflict(m, n) {
			count++
		}
	}
	return count
}

// ids returns the swarms in ascending order, so that a plan follows from its
// input and randomness alone.
func (p *planner) ids() []SwarmID {
	ids := make([]SwarmID, 0, len(p.members))
	for id := range p.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// draw returns one of the swarms that f allows; there is at least one.
func (p *planner) draw(f func(SwarmID) bool) (SwarmID, error) {
	ids := slices.DeleteFunc(p.ids(), func(id SwarmID) bool { return !f(id) })
	i, err := uniform(p.rand, len(ids))
	if err != nil {
		return 0, err
	}
	return ids[i], nil
}

// best draws uniformly among those of 0 to n-1, n > 0, that cost least.
func best(rand io.Reader, n int, cost func(int) int) (int, error) {
	var cheapest []int
	lowest := 0
	for i := range n {
		c := cost(i)
		if len(cheapest) == 0 || c < lowest {
			cheapest, lowest = cheapest[:0], c
		}
		if c == lowest {
			cheapest = append(cheapest, i)
		}
	}
	k, err := uniform(rand, len(cheapest))
	if err != nil {
		return 0, err
	}
	return cheapest[k], nil
}

// finish writes the document and tells what it changes.
func (p *planner) finish(now time.Time) (*Plan, error) {
	if now.Before(p.old.issued) {
		now = p.old.issued // a clock that was set back
	}
	doc := Document{Name: p.old.name, Created: p.old.created, Serial: p.old.serial + 1, Issued: now.UTC().Truncate(time.Second)}
	for _, id := range p.ids() {
		for _, n := range p.members[id] {
			old, listed := p.old.Node(n.ID)
			if listed && old.Swarm != id {
				p.Moved = append(p.Moved, Move{n.ID, old.Swarm, id})
			}
			n.Swarm = id
			doc.Nodes = append(doc.Nodes, n)
		}
	}
	slices.SortFunc(doc.Nodes, compareNodes)
	if err := doc.check(); err != nil {
		return nil, err
	}
	p.Document = doc
	p.Share = share(p.old.ring, p.Dissolved) + share(newRing(p.members), p.Created)
	return p.Plan, nil
}

// share returns the part of all positions that belongs to some swarms: from
// the middle between a point and the one before it to the middle between it and
// the one behind it.
func share(ring []point, of []SwarmID) float64 {
	var sum float64
	for i, pt := range ring {
		if !slices.Contains(of, pt.swarm) {
			continue
		}
		before, after := ring[(i+len(ring)-1)%len(ring)], ring[(i+1)%len(ring)]
		// Differences wrap like the ring does; a half is less than 2^63.
		sum += float64((pt.pos-before.pos)/2) + float64((after.pos-pt.pos)/2)
	}
	return sum / (1 << 64)
}
