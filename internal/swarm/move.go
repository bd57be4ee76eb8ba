package swarm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/swarm/store"
)

// Facts of the store's marks (spec/swarm.md §4.4).
const (
	factAdopted uint8 = 1 // of nobody: the directory is in use here, since when
	factWhole   uint8 = 2 // of a serial: this node was whole under it
	factHanded  uint8 = 3 // of a node: it has all that we had for it
	factDropped uint8 = 4 // of a swarm: what belongs to it was handed over and dropped
	factFloor   uint8 = 5 // of nobody: the first serial since which nothing was dropped here
)

// Moving says how far a change of membership has come, and names no mailbox.
type Moving struct {
	Serial uint64 // of the directory in use
	Member bool   // it lists this node
	// Whole: everything that was acknowledged under earlier directories, at
	// addresses that this node keeps now, is here.
	Whole bool
	// Lacking: the store lost something, which did not come back yet.
	Lacking bool
	// Ungot counts the nodes that kept such addresses and were not asked yet, but
	// not those that cannot be reached once this node is whole without them.
	Ungot int
	// Mailboxes and Bytes lie here for others, who have not got them all yet.
	// They are known once Counted is set.
	Mailboxes, Bytes uint64
	Counted          bool
}

// moves gets what a new directory gives this node to keep, and hands over what
// it takes away (spec/swarm.md §5.10).
type moves struct {
	s    *Swarm
	kick chan struct{} // something changed: run looks again

	// mu guards all below.
	mu      sync.Mutex
	view    *view                // that it works for
	sorted  *directory.Directory // that the store's sections are of
	lineage lineage
	adopted time.Time
	got     known
	gone    map[identity.NodeID]bool // had dropped what is this node's when asked
	told    map[identity.NodeID]bool // that this node needs nothing of theirs any more
	away    map[identity.NodeID]bool // could not be reached when last asked
	whole   []uint64                 // serials under which this node was whole
	floor   uint64                   // the first serial since which nothing was dropped here
	lost    bool                     // the store lost something that did not come back yet
	losses  uint64                   // of the store, which all above takes into account
	handed  map[identity.NodeID]bool
	dropped map[directory.SwarmID]bool
	left    store.Load // for others
	counted bool       // left is known
}

func newMoves(s *Swarm) *moves { return &moves{s: s, kick: make(chan struct{}, 1)} }

// Moving returns how far the last change of membership has come.
func (s *Swarm) Moving() Moving {
	m := s.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == nil {
		return Moving{}
	}
	x := Moving{
		Serial: m.view.dir.Serial(), Member: m.view.member, Whole: !m.lostLocked() && slices.Contains(m.whole, m.view.dir.Serial()), Lacking: m.lostLocked(),
		Mailboxes: m.left.Mailboxes, Bytes: m.left.Bytes, Counted: m.counted,
	}
	for _, id := range append(m.ungotLocked(), m.untoldLocked()...) {
		if !x.Whole || !m.away[id] {
			x.Ungot++
		}
	}
	return x
}

// run gets and hands over until ctx ends: at once after a change, and again and
// again, ever more seldom, while something is left.
func (m *moves) run(ctx context.Context) {
	wait := moveRetryMin
	for {
		left, err := m.work(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.s.cfg.Logger.Debug("moving mailboxes failed", "error", err)
		}
		var again <-chan time.Time
		if left || err != nil {
			again, wait = time.After(m.s.jitter(wait)), min(2*wait, moveRetryMax)
		}
		select {
		case <-m.kick:
			wait = moveRetryMin
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// work tries once what there is to do for the present view, and reports whether
// something is left.
func (m *moves) work(ctx context.Context) (left bool, err error) {
	m.mu.Lock()
	v := m.view
	m.mu.Unlock()
	if v.member {
		left, err = m.getAll(ctx, v)
		untold, tellErr := m.tellAll(ctx, v)
		left, err = left || untold, errors.Join(err, tellErr)
	}
	rest, handErr := m.handOver(ctx, v)
	return left || rest, errors.Join(err, handErr)
}

// sections is told when the store's sections are those of a directory.
func (m *moves) sections(dir *directory.Directory) {
	m.mu.Lock()
	m.sorted = dir
	m.mu.Unlock()
	signal(m.kick)
}

func (m *moves) sortedBy(v *view) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sorted == v.dir
}
