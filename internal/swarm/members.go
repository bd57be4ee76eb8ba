package swarm

import (
	"context"
	"slices"
	"sync"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
)

// view is what one directory means to this node. It never changes: a request
// takes one and decides everything by it, so that no majority is counted among
// the members of two directories (spec/swarm.md §5.2).
type view struct {
	dir    *directory.Directory
	past   []*directory.Directory // newest first
	member bool                   // this node is in the directory
	swarm  directory.SwarmID

	peers    []*peer // the other members of this node's swarm
	majority int
	keepers  keeperSet
}

// keeperSet names the members of a swarm. A proposal carries it and voters
// compare it, so that a majority is always one of the same members.
type keeperSet [8]byte

func keepersOf(members []directory.Node) (k keeperSet) {
	ids := make([]byte, 0, len(members)*identity.NodeIDSize)
	for _, m := range members { // ascending, as directories hold them
		ids = append(ids, m.ID[:]...)
	}
	h := suite.Hash(labelKeepers, ids)
	copy(k[:], h[:])
	return k
}

// keeps reports whether this node keeps the mailbox at an address.
func (v *view) keeps(a mailbox.Address) bool { return v.member && v.dir.SwarmIDOf(a) == v.swarm }

// refuse is the answer for addresses that this node does not keep.
func (v *view) refuse(a mailbox.Address) error {
	if !v.keeps(a) {
		return mailbox.ErrWrongSwarm
	}
	return nil
}

// still reports whether the keepers of an address are, for this node, those
// that a change was proposed to. Asked once the change is on disk it makes sure
// that a vote was given before this node adopted a directory with others: what
// it hands over from then on has the change in it (spec/swarm.md §5.10).
func (s *Swarm) still(k keeperSet, a mailbox.Address) error {
	if v := s.view(); !v.keeps(a) || v.keepers != k {
		return mailbox.ErrWrongSwarm
	}
	return nil
}

// quoteCounts says whether a node's quotes count at an address: also those of
// one that kept it before, since work is done ahead.
func (v *view) quoteCounts(node identity.NodeID, a mailbox.Address) bool {
	former := func(d *directory.Directory) bool { return d.InSwarmOf(node, a) }
	return v.dir.InSwarmOf(node, a) || slices.ContainsFunc(v.past, former)
}

// members holds the peers as the directory names them, and the present view.
type members struct {
	s *Swarm

	// mu guards all below. Peers are added and removed by follow alone.
	mu    sync.RWMutex
	view  *view
	peers map[identity.NodeID]*peer
}

// view returns what the directory in use means.
func (s *Swarm) view() *view {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	return s.members.view
}

// peer returns the node with the given id as a peer, or nil for a stranger.
func (s *Swarm) peer(id identity.NodeID) *peer {
	s.members.mu.RLock()
	defer s.members.mu.RUnlock()
	return s.members.peers[id]
}

// adopt makes a view of the directories in use, and peers of the nodes that are
// new in it. It returns these, and those that are peers no longer.
func (m *members) adopt(dir *directory.Directory, past []*directory.Directory) (came, went []*peer) {
	v := &view{dir: dir, past: past}
	me, ok := dir.Node(m.s.self)
	v.member, v.swarm = ok, me.Swarm
	var swarm []directory.Node
	if ok {
		swarm = dir.Swarm(me.Swarm)
	}
	v.majority, v.keepers = len(swarm)/2+1, keepersOf(swarm)

	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[identity.NodeID]*peer)
	want := func(id identity.NodeID, member bool) *peer {
		if id == m.s.self {
			return nil
		}
		if p := wanted[id]; p != nil {
			return p
		}
		p := m.peers[id]
		if p == nil || p.member != member {
			p = newPeer(m.s, id, member)
			came = append(came, p)
		}
		wanted[id] = p
		return p
	}
	for _, n := range swarm {
		if p := want(n.ID, true); p != nil {
			v.peers = append(v.peers, p)
		}
	}
	for _, id := range v.related(m.s.self) {
		want(id, false)
	}
	for id, p := range m.peers {
		if wanted[id] != p {
			went = append(went, p)
		}
	}
	m.view, m.peers = v, wanted
	return came, went
}

// related returns the nodes that this one gets mailboxes from or hands them to:
// past keepers of what it keeps now, and present keepers of what it kept.
func (v *view) related(self identity.NodeID) (ids []identity.NodeID) {
	list := func(nodes []directory.Node) {
		for _, n := range nodes {
			ids = append(ids, n.ID)
		}
	}
	for _, d := range v.past {
		if v.member {
			for _, from := range v.dir.Overlap(v.swarm, d) {
				list(d.Swarm(from))
			}
		}
		if me, ok := d.Node(self); ok {
			for _, to := range d.Overlap(me.Swarm, v.dir) {
				list(v.dir.Swarm(to))
			}
		}
	}
	return ids
}

// follow is the goroutine that goes with the directory from change to change.
// It owns the peers' goroutines.
func (m *members) follow(ctx context.Context) {
	for _, p := range m.all() {
		p.start(ctx)
	}
	defer func() {
		for _, p := range m.all() {
			p.end()
		}
	}()
	for {
		changed := m.s.cfg.Directory.Changed()
		dir, past := m.s.cfg.Directory.Current(), m.s.cfg.Directory.Past()
		if v := m.s.view(); dir != v.dir || !slices.Equal(past, v.past) {
			came, went := m.adopt(dir, past)
			for _, p := range went {
				p.end()
			}
			for _, p := range came {
				p.start(ctx)
			}
			m.s.adopted(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// adopted goes on under a new view: subscriptions to what is kept elsewhere end,
// so that their clients look there, and mailboxes begin to move.
func (s *Swarm) adopted(ctx context.Context) {
	v := s.view()
	s.subs.end(func(sub *subscription) bool { return !v.keeps(sub.address) })
	for {
		err := s.moves.begin(ctx, v)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.cfg.Logger.Warn("a change of membership waits for the disk", "error", err)
		if !sleep(ctx, backoffMax) {
			return
		}
	}
}

func (m *members) all() []*peer {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*peer, 0, len(m.peers))
	for _, p := range m.peers {
		out = append(out, p)
	}
	return out
}
