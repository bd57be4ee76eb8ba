package directory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"

	"sotto/internal/identity"
)

var (
	// ErrTooSmall is wrapped when the network has no path under the rules; the
	// text says which place cannot be filled.
	ErrTooSmall = errors.New("directory: network too small for a path")
	// ErrGuardConflict is returned when the guard itself may not stand on a
	// path to the target: another guard may.
	ErrGuardConflict = errors.New("directory: guard conflicts with the path's target")
	// ErrUnknownNode is wrapped when the guard or the target is not listed.
	ErrUnknownNode = errors.New("directory: node not listed")
)

// PathRequest says what a path must avoid (spec/directory.md §5.5).
type PathRequest struct {
	Guard  identity.NodeID   // the first hop, given
	Target identity.NodeID   // the node that the exit will speak to; zero if not known yet
	Avoid  []identity.NodeID // neither middle nor exit: nodes that failed lately
	// Middles holds the only nodes that may be the middle: the vanguards of a
	// path for receiving. Nil allows all; those that are not listed count for
	// nothing.
	Middles []identity.NodeID
	// AvoidExits holds nodes that the exit may not conflict with: the exits of
	// circuits that must not fail or be watched together with this one.
	AvoidExits []identity.NodeID
}

// Path is three nodes that conflict neither pairwise nor with the target.
type Path struct{ Guard, Middle, Exit Node }

// pathTries is how many random pairs ChoosePath tries before it enumerates:
// when a fraction p of the pairs is allowed, (1-p)^64 of the calls go on.
const pathTries = 64

// ChoosePath chooses middle and exit uniformly among all pairs that the rules
// allow. It returns ErrGuardConflict, or wraps ErrTooSmall or ErrUnknownNode.
func (d *Directory) ChoosePath(rand io.Reader, req PathRequest) (Path, error) {
	c, err := d.newChooser(req)
	if err != nil {
		return Path{}, err
	}
	// A random pair that is allowed is uniform among the allowed ones.
	for range pathTries {
		if len(c.middles) == 0 {
			break
		}
		i, err := uniform(rand, len(c.middles))
		if err != nil {
			return Path{}, err
		}
		j, err := uniform(rand, len(d.nodes))
		if err != nil {
			return Path{}, err
		}
		middle, exit := c.middles[i], &d.nodes[j]
		if c.middleAllowed(middle) && c.exitAllowed(exit) && !Conflict(*middle, *exit) {
			return Path{c.guard, *middle, *exit}, nil
		}
	}
	return c.enumerate(rand)
}

// chooser holds one request, resolved.
type chooser struct {
	d         *Directory
	guard     Node
	ends      []Node // the guard and the target: nobody may conflict with them
	exits     []Node
	middles   []*Node // who may be the middle, as far as the request says
	avoid     map[identity.NodeID]bool
	hasTarget bool
	chosen    bool // Middles was set
}

func (d *Directory) newChooser(req PathRequest) (*chooser, error) {
	guard, ok := d.Node(req.Guard)
	if !ok {
		return nil, fmt.Errorf("guard: %w", ErrUnknownNode)
	}
	c := &chooser{d: d, guard: guard, ends: []Node{guard}, avoid: make(map[identity.NodeID]bool, len(req.Avoid))}
	if req.Target != (identity.NodeID{}) {
		target, ok := d.Node(req.Target)
		if !ok {
			return nil, fmt.Errorf("target: %w", ErrUnknownNode)
		}
		if Conflict(guard, target) {
			return nil, ErrGuardConflict
		}
		c.ends, c.hasTarget = append(c.ends, target), true
	}
	for _, id := range req.Avoid {
		c.avoid[id] = true
	}
	for _, id := range req.AvoidExits {
		if n, ok := d.Node(id); ok {
			c.exits = append(c.exits, n)
		}
	}
	c.chosen = req.Middles != nil
	if !c.chosen {
		for i := range d.nodes {
			c.middles = append(c.middles, &d.nodes[i])
		}
	}
	for _, id := range req.Middles {
		if i, ok := d.index[id]; ok {
			c.middles = append(c.middles, &d.nodes[i])
		}
	}
	return c, nil
}

func (c *chooser) middleAllowed(n *Node) bool { return !c.avoid[n.ID] && !conflictsAny(n, c.ends) }

func (c *chooser) exitAllowed(n *Node) bool {
	return c.middleAllowed(n) && !conflictsAny(n, c.exits)
}

func conflictsAny(n *Node, others []Node) bool {
	for i := range others {
		if Conflict(*n, others[i]) {
			return true
		}
	}
	return false
}

// enumerate counts the allowed pairs and picks one: slower, but exact when few
// pairs are allowed.
func (c *chooser) enumerate(rand io.Reader) (Path, error) {
	middles, exits := c.candidates()
	total := 0
	c.pairs(middles, exits, func(_, _ *Node) bool { total++; return true })
	if total == 0 {
		return Path{}, c.tooSmall(len(middles), len(exits))
	}
	k, err := uniform(rand, total)
	if err != nil {
		return Path{}, err
	}
	path := Path{Guard: c.guard}
	c.pairs(middles, exits, func(m, e *Node) bool {
		path.Middle, path.Exit = *m, *e
		k--
		return k >= 0
	})
	return path, nil
}

func (c *chooser) candidates() (middles, exits []*Node) {
	for _, n := range c.middles {
		if c.middleAllowed(n) {
			middles = append(middles, n)
		}
	}
	for i := range c.d.nodes {
		n := &c.d.nodes[i]
		if c.exitAllowed(n) {
			exits = append(exits, n)
		}
	}
	return middles, exits
}

// pairs calls yield for each allowed pair until it returns false.
func (c *chooser) pairs(middles, exits []*Node, yield func(middle, exit *Node) bool) {
	for _, e := range exits {
		for _, m := range middles {
			if !Conflict(*m, *e) && !yield(m, e) {
				return
			}
		}
	}
}

// tooSmall names the place that cannot be filled, and how diverse the network
// is, since more nodes of one operator would not help.
func (c *chooser) tooSmall(middles, exits int) error {
	apart := "the guard"
	if c.hasTarget {
		apart = "the guard and the target"
	}
	middle := "a middle"
	if c.chosen {
		middle = fmt.Sprintf("a middle among %d second-layer guards", len(c.middles))
	}
	what := middle + " that differs from every possible exit"
	switch {
	case middles == 0:
		what = middle
	case exits == 0:
		what = "an exit"
	}
	operators, networks := c.d.Diversity()
	return fmt.Errorf("%w: of %d nodes of %d operators in %d networks none is left for %s (apart from %s by operator and network; %d avoided)",
		ErrTooSmall, len(c.d.nodes), operators, networks, what, apart, len(c.avoid)+len(c.exits))
}

// Diversity counts the operators and the networks (IPv4 /16, IPv6 /32) of the
// directory's nodes.
func (d *Directory) Diversity() (operators, networks int) {
	names, prefixes := make(map[string]bool), make(map[netip.Prefix]bool)
	for _, n := range d.nodes {
		names[n.Operator], prefixes[network(n.Addr.Addr())] = true, true
	}
	return len(names), len(prefixes)
}

// uniform returns a uniform integer in [0, n), n > 0, from rand.
func uniform(rand io.Reader, n int) (int, error) {
	// Values from limit on would favour the small remainders.
	limit := math.MaxUint64 - math.MaxUint64%uint64(n)
	for {
		var b [8]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return 0, fmt.Errorf("directory: randomness: %w", err)
		}
		if v := binary.BigEndian.Uint64(b[:]); v < limit {
			return int(v % uint64(n)), nil
		}
	}
}
