package directory_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

// changing is a network that changes at random.
type changing struct {
	t    *testing.T
	rand *rand.Rand
	key  suite.SigningKey
	dir  *directory.Directory
	made int
}

func newChanging(t *testing.T, nodes int) *changing {
	t.Helper()
	key, err := suite.NewSigningKey(stream(7))
	if err != nil {
		t.Fatal(err)
	}
	c := &changing{t: t, rand: rand.New(stream(3)), key: key}
	doc := directory.Document{Name: "changing", Created: created}
	for range nodes {
		doc.Nodes = append(doc.Nodes, c.newNode())
	}
	n, err := directory.SignDocument(key, doc)
	if err != nil {
		t.Fatal(err)
	}
	c.dir = verified(t, n)
	return c
}

// newNode makes a node of one of 60 operators in one of 90 networks.
func (c *changing) newNode() directory.Node {
	c.made++
	h := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(c.made)))
	n := directory.Node{
		ID: identity.NodeID(h), Operator: fmt.Sprintf("operator-%d", c.rand.IntN(60)),
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(c.rand.IntN(90)), byte(c.made >> 8), byte(c.made)}), 4433),
	}
	h = sha256.Sum256(h[:])
	n.OnionKey = suite.DHPublic(h)
	return n
}

// random makes a change of so many joins, leaves and updates.
func (c *changing) random(joins, leaves, updates int) (change directory.Change) {
	for range joins {
		change.Join = append(change.Join, c.newNode())
	}
	nodes := c.dir.Nodes()
	c.rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	for _, n := range nodes[:leaves] {
		change.Leave = append(change.Leave, n.ID)
	}
	for _, n := range nodes[leaves : leaves+updates] {
		n.Operator = "renamed"
		change.Join = append(change.Join, n)
	}
	return change
}

// make carries a change out and returns the plan and the new directory.
func (c *changing) make(change directory.Change) (*directory.Plan, *directory.Directory) {
	c.t.Helper()
	plan, err := c.dir.Plan(stream(byte(c.made)), c.dir.Issued().Add(time.Minute), change)
	if err != nil {
		c.t.Fatal(err)
	}
	n, err := directory.SignDocument(c.key, plan.Document)
	if err != nil {
		c.t.Fatal(err)
	}
	return plan, verified(c.t, n)
}

// bounds returns how many swarms and members so many nodes allow.
func bounds(nodes, swarms int) (wantSwarms, least int) {
	fewest := (nodes + directory.MaxSwarm - 1) / directory.MaxSwarm
	most := max(fewest, nodes/directory.MinSwarm)
	wantSwarms = min(max(swarms, fewest), most)
	return wantSwarms, min(directory.MinSwarm, nodes/wantSwarms)
}

// fewestMoves tries every choice of swarms to dissolve and of final sizes, and
// returns how many of the nodes that stay must change swarms at least. For few
// swarms only.
func fewestMoves(sizes []int, joins, swarms, least int) int {
	nodes := joins
	for _, s := range sizes {
		nodes += s
	}
	for len(sizes) < swarms {
		sizes = append(sizes, 0)
	}
	fewest := nodes
	var try func(i, left, gone, moved int)
	try = func(i, left, gone, moved int) {
		if i == len(sizes) {
			if left == 0 && gone == len(sizes)-swarms {
				fewest = min(fewest, moved)
			}
			return
		}
		try(i+1, left, gone+1, moved+sizes[i])
		for size := least; size <= min(directory.MaxSwarm, left); size++ {
			try(i+1, left-size, gone, moved+max(0, sizes[i]-size))
		}
	}
	try(0, nodes, 0, 0)
	return fewest
}

// leastMoves is the same by reasoning. Members of dissolved swarms must move:
// fewest if these are the smallest. Each place that a swarm lacks takes a node,
// and only joiners and those of dissolved swarms cost no further move.
func leastMoves(sizes []int, joins, swarms, least int) int {
	sizes = append([]int(nil), sizes...)
	for i := range sizes { // ascending
		for j := i; j > 0 && sizes[j] < sizes[j-1]; j-- {
			sizes[j], sizes[j-1] = sizes[j-1], sizes[j]
		}
	}
	freed, lacking := 0, max(0, swarms-len(sizes))*least
	for i, s := range sizes {
		if i < len(sizes)-swarms {
			freed += s
		} else {
			lacking += max(0, least-s)
		}
	}
	return max(freed, lacking-joins)
}

// sizesAfter returns the sizes of all swarms once the leavers have gone.
func sizesAfter(d *directory.Directory, leave []identity.NodeID) (sizes []int) {
	gone := make(map[identity.NodeID]bool)
	for _, id := range leave {
		gone[id] = true
	}
	for _, s := range d.Swarms() {
		n := 0
		for _, m := range d.Swarm(s) {
			if !gone[m.ID] {
				n++
			}
		}
		sizes = append(sizes, n)
	}
	return sizes
}

// conflicting counts pairs that conflict, within swarms and in all.
func conflicting(d *directory.Directory) (within int, expected float64) {
	nodes := d.Nodes()
	all, pairs, inside := 0, 0, 0
	for i, a := range nodes {
		for _, b := range nodes[:i] {
			pairs++
			same := a.Swarm == b.Swarm
			if same {
				inside++
			}
			if directory.Conflict(a, b) {
				all++
				if same {
					within++
				}
			}
		}
	}
	return within, float64(all) * float64(inside) / float64(pairs)
}

func contains[T comparable](list []T, x T) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return false
}

// A thousand random changes: sizes hold, no address moves between two swarms
// that stay, and no more nodes move than must.
func TestThousandRandomChanges(t *testing.T) {
	const changes, addresses = 1000, 500
	c := newChanging(t, 5)
	var created, dissolved, moved, least, joined, left, largest, brute int
	var share, sampled, expected float64
	var within int
	for i := range changes {
		joins, leaves := c.rand.IntN(4), c.rand.IntN(3)
		if i/250%2 == 1 { // shrink for 250 changes, then grow again
			joins, leaves = c.rand.IntN(3), c.rand.IntN(4)
		}
		if joins+leaves == 0 || c.dir.Len()-leaves < 3 {
			joins, leaves = 1, 0
		}
		change := c.random(joins, leaves, c.rand.IntN(2))
		plan, next := c.make(change)
		wantSwarms, leastSize := bounds(next.Len(), len(c.dir.Swarms()))
		if got := len(next.Swarms()); got != wantSwarms {
			t.Fatalf("change %d: %d nodes in %d swarms, want %d", i, next.Len(), got, wantSwarms)
		}
		if got := len(c.dir.Swarms()) + len(plan.Created) - len(plan.Dissolved); got != wantSwarms || len(plan.Created)*len(plan.Dissolved) != 0 {
			t.Fatalf("change %d: created %v, dissolved %v", i, plan.Created, plan.Dissolved)
		}
		for _, s := range next.Swarms() {
			if n := len(next.Swarm(s)); n < leastSize || n > directory.MaxSwarm {
				t.Fatalf("change %d: swarm %d has %d members", i, s, n)
			}
		}
		for _, n := range c.dir.Nodes() {
			after, stays := next.Node(n.ID)
			if stays == contains(change.Leave, n.ID) {
				t.Fatalf("change %d: node %v stays: %v", i, n.ID, stays)
			}
			if mv := (directory.Move{Node: n.ID, From: n.Swarm, To: after.Swarm}); stays && (n.Swarm != after.Swarm) != contains(plan.Moved, mv) {
				t.Fatalf("change %d: move %v is not in the plan or did not happen", i, mv)
			}
		}
		sizes := sizesAfter(c.dir, change.Leave)
		bound := leastMoves(sizes, joins, wantSwarms, leastSize)
		if len(sizes) <= 4 {
			brute++
			if b := fewestMoves(sizes, joins, wantSwarms, leastSize); b != bound {
				t.Fatalf("change %d: %d moves are possible, reasoned %d", i, b, bound)
			}
		}
		if len(plan.Moved) != bound {
			t.Fatalf("change %d: %d nodes moved, %d would do", i, len(plan.Moved), bound)
		}
		for a := range addresses {
			was, is := c.dir.SwarmIDOf(address(a)), next.SwarmIDOf(address(a))
			if was == is {
				continue
			}
			if !contains(plan.Dissolved, was) && !contains(plan.Created, is) {
				t.Fatalf("change %d: address moved from swarm %d to %d, which both stay", i, was, is)
			}
			sampled += 1. / addresses
		}
		created, dissolved = created+len(plan.Created), dissolved+len(plan.Dissolved)
		moved, least, joined, left = moved+len(plan.Moved), least+bound, joined+joins, left+leaves
		share, largest = share+plan.Share, max(largest, next.Len())
		w, e := conflicting(next)
		within, expected = within+w, expected+e
		c.dir = next
	}
	if d := share - sampled; d < -1 || d > 1 {
		t.Errorf("plans moved %.2f of all addresses, sampled %.2f", share, sampled)
	}
	if float64(within) > expected*3/4 {
		t.Errorf("%d conflicting pairs in swarms, drawn by lot %.0f", within, expected)
	}
	t.Logf("%d changes up to %d nodes: %d joined, %d left; %d swarms created, %d dissolved", changes, largest, joined, left, created, dissolved)
	t.Logf("nodes moved: %d, least possible %d (checked by trying all ways in %d changes)", moved, least, brute)
	t.Logf("addresses moved: %.2f of all, in sum (sampled %.2f); %.4f a created or dissolved swarm", share, sampled, share/float64(created+dissolved))
	t.Logf("pairs of one operator or network in one swarm, summed over all states: %d; by lot alone %.0f", within, expected)
}

// In small networks, where every way can be tried, no way moves fewer nodes.
func TestPlanMovesTheFewest(t *testing.T) {
	c := newChanging(t, 5)
	start, tried := c.dir, 0
	for nodes := 5; nodes <= 28; nodes++ {
		c.dir = start
		_, c.dir = c.make(c.random(nodes-5, 0, 0))
		for range 12 {
			change := c.random(c.rand.IntN(9), c.rand.IntN(nodes-1), 0)
			plan, next := c.make(change)
			swarms, least := bounds(next.Len(), len(c.dir.Swarms()))
			sizes := sizesAfter(c.dir, change.Leave)
			if want := fewestMoves(sizes, len(change.Join), swarms, least); len(plan.Moved) != want {
				t.Fatalf("%v and %d joiners into %d swarms: %d moved, %d would do", sizes, len(change.Join), swarms, len(plan.Moved), want)
			}
			tried++
		}
	}
	t.Logf("%d changes, none possible with fewer moves", tried)
}

func TestPlanKeepsPlaces(t *testing.T) {
	c := newChanging(t, 7)
	plan, next := c.make(directory.Change{})
	if next.Serial() != 1 || len(plan.Moved)+len(plan.Created)+len(plan.Dissolved) != 0 || plan.Share != 0 {
		t.Fatalf("an empty change gave serial %d and %+v", next.Serial(), plan)
	}
	n := c.dir.Nodes()[2]
	n.Addr = netip.MustParseAddrPort("192.0.2.1:1")
	n.Swarm = 77
	plan, next = c.make(directory.Change{Join: []directory.Node{n}})
	got, _ := next.Node(n.ID)
	n.Swarm = 0
	if got != n || len(plan.Updated) != 1 || len(plan.Joined) != 0 || len(plan.Moved) != 0 {
		t.Fatalf("an entry that changed is %+v with %+v", got, plan)
	}
	// All members of one swarm leave: it stays, with others in it.
	for range 5 {
		_, c.dir = c.make(c.random(3, 0, 0))
	}
	var all []identity.NodeID
	gone := c.dir.Swarms()[0]
	for _, m := range c.dir.Swarm(gone) {
		all = append(all, m.ID)
	}
	joins := c.random(len(all), 0, 0)
	plan, next = c.make(directory.Change{Join: joins.Join, Leave: all})
	if len(next.Swarm(gone)) < directory.MinSwarm || plan.Share != 0 {
		t.Fatalf("the swarm has %d members, %v moved", len(next.Swarm(gone)), plan.Share)
	}
	// A clock that was set back does not set the date back.
	p, err := next.Plan(stream(1), created.Add(-time.Hour), directory.Change{})
	if err != nil || p.Document.Issued.Before(next.Issued()) {
		t.Fatalf("issued %v after %v (%v)", p.Document.Issued, next.Issued(), err)
	}
}

func TestPlanRefuses(t *testing.T) {
	c := newChanging(t, 6)
	listed, fresh := c.dir.Nodes()[0], c.newNode()
	var all []identity.NodeID
	for _, n := range c.dir.Nodes() {
		all = append(all, n.ID)
	}
	nameless := fresh
	nameless.Operator = ""
	for name, tc := range map[string]struct {
		change directory.Change
		want   error
	}{
		"an unknown node leaves": {directory.Change{Leave: []identity.NodeID{fresh.ID}}, directory.ErrChange},
		"a node leaves twice":    {directory.Change{Leave: []identity.NodeID{listed.ID, listed.ID}}, directory.ErrChange},
		"a node joins twice":     {directory.Change{Join: []directory.Node{fresh, fresh}}, directory.ErrChange},
		"a node does both":       {directory.Change{Join: []directory.Node{listed}, Leave: []identity.NodeID{listed.ID}}, directory.ErrChange},
		"all leave":              {directory.Change{Leave: all}, directory.ErrChange},
		"a bad entry":            {directory.Change{Join: []directory.Node{nameless}}, directory.ErrInvalid},
	} {
		if _, err := c.dir.Plan(stream(1), created, tc.change); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}
