package swarm

import (
	"context"
	"errors"
	"slices"

	"sotto/internal/identity"
	"sotto/internal/swarm/store"
)

// ungotLocked lists the nodes that are yet to be asked: all that kept this
// node's addresses and do so no longer, since they wait to be rid of them; and
// its fellows, until it is whole.
func (m *moves) ungotLocked() (ids []identity.NodeID) {
	if !m.view.member {
		return nil
	}
	whole := slices.Contains(m.whole, m.view.dir.Serial())
	for _, id := range m.lineage.nodes() {
		if _, ok := m.got[id]; !ok && !m.gone[id] && !(whole && slices.Contains(m.lineage.levels[0].sets[0], id)) {
			ids = append(ids, id)
		}
	}
	return ids
}

// untoldLocked lists the nodes that keep this node's addresses no longer and have
// not heard yet that it has their parts, and everybody's: before it is whole it
// may need them as witnesses still.
func (m *moves) untoldLocked() (ids []identity.NodeID) {
	if !m.view.member || !slices.Contains(m.whole, m.view.dir.Serial()) {
		return nil
	}
	for id := range m.got {
		if id != m.s.self && !m.told[id] && !m.gone[id] && !slices.Contains(m.lineage.levels[0].sets[0], id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// getAll asks all of the lineage that were not got yet, one after the other, so
// that a move takes one stream's worth of this node.
func (m *moves) getAll(ctx context.Context, v *view) (left bool, err error) {
	m.mu.Lock()
	nodes := m.ungotLocked()
	m.mu.Unlock()
	for i := range nodes {
		// The keepers of a swarm begin at different ones.
		p := m.s.peer(nodes[(int(m.s.self[0])+i)%len(nodes)])
		if p == nil {
			continue // the directory changed again
		}
		e := m.get(ctx, v, p)
		m.noteAway(p.id, errors.Is(e, errPeerAway))
		if errors.Is(e, errDropped) {
			m.noteGone(v, p.id) // under this directory it never has it again
			continue
		}
		if e != nil {
			left, err = true, errors.Join(err, e)
		}
	}
	return left, err
}

// tellAll tells past keepers that this node needs nothing of theirs any more.
func (m *moves) tellAll(ctx context.Context, v *view) (left bool, err error) {
	m.mu.Lock()
	if m.view != v {
		m.mu.Unlock()
		return true, nil
	}
	nodes := m.untoldLocked()
	m.mu.Unlock()
	for _, id := range nodes {
		p := m.s.peer(id)
		if p == nil {
			continue // the directory changed again
		}
		_, e := p.askMove(ctx, moveQuery{serial: v.dir.Serial(), done: true})
		m.noteAway(id, errors.Is(e, errPeerAway))
		if e != nil && !errors.Is(e, errDropped) {
			left, err = true, errors.Join(err, e)
			continue
		}
		m.mu.Lock()
		if m.view == v {
			m.told[id] = true
		}
		m.mu.Unlock()
	}
	return left, err
}

// noteAway notes whether a node could be reached. One that left and was switched
// off too early is asked on, in vain, and nobody needs to wait for it.
func (m *moves) noteAway(id identity.NodeID, away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away[id] = away
}

// noteGone notes that a node has handed over what is this one's and dropped it:
// there is nothing to get there, and it does not wait for anybody.
func (m *moves) noteGone(v *view, id identity.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == v {
		m.gone[id] = true
	}
}

// get pulls this node's addresses from a node that kept them. The first question
// makes sure that the other has adopted the directory, so that nothing is
// acknowledged there any more that the pull could miss; the last one that it
// dropped nothing meanwhile.
func (m *moves) get(ctx context.Context, v *view, p *peer) error {
	q := moveQuery{serial: v.dir.Serial()}
	m.mu.Lock()
	losses := m.losses
	m.mu.Unlock()
	if !m.sortedBy(v) {
		return store.ErrNotReady
	}
	if _, err := p.askMove(ctx, q); err != nil {
		return err
	}
	if err := m.pull(ctx, v, p); err != nil {
		return err
	}
	state, err := p.askMove(ctx, q)
	if err != nil {
		return err
	}
	return m.settle(ctx, v, p.id, state, losses)
}

// pull compares until nothing is missing, in short rounds between which others
// have their turn. It goes on behind what differs for good.
func (m *moves) pull(ctx context.Context, v *view, p *peer) error {
	from := store.End
	for {
		short, cancel := context.WithTimeout(ctx, moveRound)
		before := m.s.got.Load()
		left, err := p.reconcileSection(short, uint16(v.swarm), false, from)
		long := errors.Is(short.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errUnproductive) && !long && left < from:
			from = left
		case !long || m.s.got.Load() == before:
			return err
		}
	}
}

// errDropped is the answer of one that dropped what it is asked for.
var errDropped = errors.New("swarm: handed over and dropped")

func (p *peer) askMove(ctx context.Context, q moveQuery) (keeperState, error) {
	reply, err := p.ask(ctx, opMove, q.encode())
	if err != nil {
		return keeperState{}, err
	}
	state, err := parseMoveReply(reply)
	if err == nil && state.gone {
		err = errDropped
	}
	return state, err
}
