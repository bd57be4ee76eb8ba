package swarm

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// view is what one directory means to this node. It never changes: a request
// takes one and decides everything by it, so that no majority is counted among
// the members of two directories (spec/swarm.md §5.2).
type view struct {
	dir    *directory.Directory
	member bool // this node is in the directory
	swarm  directory.SwarmID

	peers    []*peer // the other members of this node's swarm
	majority int
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

// quoteCounts says whether a node's quotes count at an address.
func (v *view) quoteCounts(node identity.NodeID, a mailbox.Address) bool {
	return v.dir.InSwarmOf(node, a)
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

// adopt makes a view of the directory in use, and peers of the nodes that are
// new in it. It returns these, and those that are peers no longer.
func (m *members) adopt(dir *directory.Directory) (came, went []*peer) {
	v := &view{dir: dir}
	me, ok := dir.Node(m.s.self)
	v.member, v.swarm = ok, me.Swarm
	var swarm []directory.Node
	if ok {
		swarm = dir.Swarm(me.Swarm)
	}
	v.majority = len(swarm)/2 + 1

	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[identity.NodeID]*peer)
	for _, n := range swarm {
		if n.ID == m.s.self {
			continue
		}
		p := m.peers[n.ID]
		if p == nil {
			p = newPeer(m.s, n.ID)
			came = append(came, p)
		}
		wanted[n.ID] = p
		v.peers = append(v.peers, p)
	}
	for id, p := range m.peers {
		if wanted[id] == nil {
			went = append(went, p)
		}
	}
	slices.SortFunc(went, func(a, b *peer) int { return cmp.Compare(a.id.String(), b.id.String()) })
	m.view, m.peers = v, wanted
	return came, went
}

// follow is the goroutine that goes with the directory from change to change.
// It owns the peers' goroutines.
func (m *members) follow(ctx context.Context) {
	m.mu.RLock()
	for _, p := range m.view.peers {
		p.start(ctx)
	}
	m.mu.RUnlock()
	defer func() {
		for _, p := range m.all() {
			p.end()
		}
	}()
	for {
		changed := m.s.cfg.Directory.Changed()
		if dir := m.s.cfg.Directory.Current(); dir != m.s.view().dir {
			came, went := m.adopt(dir)
			for _, p := range went {
				p.end()
			}
			for _, p := range came {
				p.start(ctx)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
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
