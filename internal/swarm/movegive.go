package swarm

import (
	"context"
	"errors"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// handing is the state towards a node that gets what is its own: it must have
// the directory in which it is, and this node too.
func (m *moves) handing(v *view, serial uint64, to directory.SwarmID) (keeperState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v || serial > v.dir.Serial() {
		return keeperState{}, mailbox.ErrBusy
	}
	state := m.stateLocked()
	state.gone = m.dropped[to]
	return state, nil
}

// serveMove answers a keeper that begins or ends to get its addresses from here.
func (ps *peerStream) serveMove(ctx context.Context, body []byte) ([]byte, error) {
	q, err := parseMoveQuery(body)
	if err != nil {
		return nil, err
	}
	m, v := ps.s.moves, ps.s.view()
	asker, ok := v.dir.Node(ps.p.id)
	switch {
	case q.serial != v.dir.Serial():
		return nil, mailbox.ErrBusy // one of the two will adopt the other's
	case !ok:
		return nil, mailbox.ErrWrongSwarm
	}
	if !m.sortedBy(v) {
		return nil, mailbox.ErrBusy // what it would compare is of another directory
	}
	state, err := m.handing(v, q.serial, asker.Swarm)
	if err != nil || state.gone || !q.done || m.hasHanded(q.serial, asker.ID) {
		return state.append(nil), err // to say it again changes nothing
	}
	if err := m.noteHanded(ctx, q.serial, asker.ID); err != nil {
		return nil, storeError(err)
	}
	signal(m.kick)
	return state.append(nil), nil
}

// hasHanded reports whether a keeper has said that it has all of its own under
// the directory with a serial.
func (m *moves) hasHanded(serial uint64, id identity.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view.dir.Serial() == serial && m.handed[id]
}

// noteHanded notes that a keeper under the directory with a serial has all that
// this node had for it. Another past directory may have come to be known since it
// was asked, which changes nothing of that.
func (m *moves) noteHanded(ctx context.Context, serial uint64, id identity.NodeID) error {
	if err := m.s.cfg.Store.SetMark(ctx, m.markNow(factHanded, id, serial)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view.dir.Serial() == serial {
		m.handed[id] = true
	}
	return nil
}

// handOver drops what the keepers of other swarms have got from here, and
// reports whether something is left.
func (m *moves) handOver(ctx context.Context, v *view) (bool, error) {
	section := func(a store.Address) uint16 { return uint16(v.dir.SwarmIDOf(a)) }
	loads, err := m.s.cfg.Store.Loads(section)
	if err != nil {
		return true, err
	}
	if v.member {
		delete(loads, uint16(v.swarm))
	}
	var left store.Load
	for id, load := range loads {
		if m.mayDrop(v, directory.SwarmID(id)) {
			err = errors.Join(err, m.drop(ctx, v, directory.SwarmID(id)))
			continue
		}
		left.Mailboxes += load.Mailboxes
		left.Bytes += load.Bytes
	}
	m.mu.Lock()
	m.left, m.counted = left, m.view == v && err == nil
	m.mu.Unlock()
	if err == nil && left.Mailboxes == 0 && !v.member {
		m.s.cfg.Logger.Info("this node left the directory and has handed over all mailboxes: it may be switched off", "serial", v.dir.Serial())
	}
	return left.Mailboxes > 0, err
}

// mayDrop reports whether all keepers of a swarm have got what is theirs, or a
// majority has and the others had their time.
func (m *moves) mayDrop(v *view, id directory.SwarmID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v {
		return false
	}
	keepers, have := v.dir.Swarm(id), 0
	for _, k := range keepers {
		if m.handed[k.ID] {
			have++
		}
	}
	return have == len(keepers) || have >= len(keepers)/2+1 && m.s.cfg.Now().Sub(m.adopted) >= handGrace
}

// drop says first, on disk too, that the addresses are gone from here, so that
// nobody takes what is left of them for all that there was. It stops when the
// directory changes, which may give them back. Under the next directory this node
// counts for nothing at levels before this one (begin); under this one the
// keepers of other sections miss nothing.
func (m *moves) drop(ctx context.Context, v *view, id directory.SwarmID) error {
	st := m.s.cfg.Store
	if err := st.SetMark(ctx, m.markNow(factDropped, ofSwarm(id), v.dir.Serial())); err != nil {
		return err
	}
	m.mu.Lock()
	if m.view != v {
		m.mu.Unlock()
		return nil
	}
	m.dropped[id] = true
	m.mu.Unlock()
	_, err := st.Drop(ctx, func(a store.Address) bool { return m.s.view() == v && v.dir.SwarmIDOf(a) == id })
	return err
}
