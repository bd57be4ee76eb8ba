package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/swarm/store"
)

func ofSerial(serial uint64) (b [32]byte) {
	binary.BigEndian.PutUint64(b[:], serial)
	return b
}

func ofSwarm(id directory.SwarmID) (b [32]byte) {
	binary.BigEndian.PutUint16(b[:], uint16(id))
	return b
}

// begin works for a view from now on. Marks of another serial are taken away,
// but for those that say under which directories this node was whole.
func (m *moves) begin(ctx context.Context, v *view) error {
	losses := m.s.cfg.Store.Losses()
	marks, err := m.s.cfg.Store.Marks()
	if err != nil {
		return err
	}
	serial, now := v.dir.Serial(), m.s.cfg.Now()
	var stale []store.Mark
	fresh, floor := true, serial // an empty store has lost whatever there was
	var since uint64             // what was dropped under an earlier directory
	m.mu.Lock()
	if m.view == nil || m.view.dir.Serial() != serial { // else some were noted since the marks were read
		m.handed, m.dropped = make(map[identity.NodeID]bool), make(map[directory.SwarmID]bool)
	}
	m.view, m.adopted, m.lineage = v, now, v.lineage(m.s.self)
	m.got, m.whole, m.lost, m.counted = make(known), nil, false, false
	m.gone, m.told, m.away = make(map[identity.NodeID]bool), make(map[identity.NodeID]bool), make(map[identity.NodeID]bool)
	for _, x := range marks {
		m.lost = m.lost || x.Fact == store.FactSalvaged
		if x.Fact == factDropped && x.Serial != serial {
			since = max(since, x.Serial)
		}
	}
	for _, x := range marks {
		switch {
		case x.Fact == store.FactSalvaged:
		case x.Fact == factFloor:
			floor = x.Serial
		case x.Fact == factWhole && m.lost: // taken away when it is found again
		case x.Fact == factWhole && x.Serial >= since && v.matters(x.Serial):
			m.whole = append(m.whole, x.Serial)
		case x.Serial != serial || x.Fact == factWhole:
			stale = append(stale, x)
		case x.Fact == factAdopted:
			m.adopted, fresh = time.Unix(int64(x.Time), 0), false
		case x.Fact == factHanded:
			m.handed[x.Of] = true
		case x.Fact == factDropped:
			m.dropped[directory.SwarmID(binary.BigEndian.Uint16(x.Of[:2]))] = true
		}
	}
	floor = max(floor, since)
	m.floor, m.losses = floor, losses
	state := m.stateLocked()
	m.mu.Unlock()
	st := m.s.cfg.Store
	if fresh {
		err = errors.Join(
			st.SetMark(ctx, m.markNow(factFloor, [32]byte{}, floor)),
			st.SetMark(ctx, m.markNow(factAdopted, [32]byte{}, serial), stale...),
		)
	}
	if err == nil {
		err = m.settle(ctx, v, m.s.self, state, losses)
	}
	if err == nil && m.s.cfg.Store.Losses() != losses {
		err = store.ErrAway // these marks are of before
	}
	if err != nil {
		return err
	}
	signal(m.kick)
	return nil
}

func (m *moves) markNow(fact uint8, of [32]byte, serial uint64) store.Mark {
	return store.Mark{Fact: fact, Of: of, Serial: serial, Time: m.s.unixNow()}
}

// matters reports whether a serial is that of the view's directory, or of a past
// one that matters.
func (v *view) matters(serial uint64) bool {
	return v.dir.Serial() == serial || slices.ContainsFunc(v.past, func(d *directory.Directory) bool { return d.Serial() == serial })
}

// complete reports whether this node has what was kept at its addresses before
// the view's directory.
func (m *moves) complete(v *view) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view == v && !m.lostLocked() && slices.Contains(m.whole, v.dir.Serial())
}

// settle notes that a node's part is here, this node's own at the begin, and
// whether that makes everything.
//
// What was got before the store lost something, for the losses-th time, does not count.
func (m *moves) settle(ctx context.Context, v *view, id identity.NodeID, state keeperState, losses uint64) error {
	serial := v.dir.Serial()
	m.mu.Lock()
	if m.view != v || m.losses != losses || m.s.cfg.Store.Losses() != losses {
		m.mu.Unlock()
		return nil
	}
	m.got[id] = state
	lost := m.lost
	settled := m.lineage.settled(m.got, v.deep(m.s.cfg.Now())) && (!lost || m.lineage.levels[0].found(m.got))
	done := slices.Contains(m.whole, serial) || !v.member || !settled
	m.mu.Unlock()
	if done {
		return nil
	}
	if err := m.s.cfg.Store.SetMarkSince(ctx, losses, m.markNow(factWhole, ofSerial(serial), serial)); err != nil {
		return err
	}
	if lost {
		if err := m.forgetLoss(ctx, serial, losses); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v || m.losses != losses {
		return nil
	}
	m.whole = append(m.whole, serial)
	if lost {
		m.lost, m.floor = false, serial
		m.s.cfg.Logger.Info("what the store had lost is here again")
	}
	if len(v.past) > 0 {
		m.s.cfg.Logger.Info("all mailboxes of this node's swarm are here", "serial", serial)
	}
	return nil
}

// lose notes that the store lost something, and which is on disk already
// (store.FactSalvaged): this node counts for nothing until it has got it again.
func (m *moves) lose() {
	m.mu.Lock()
	m.lost, m.whole = true, nil
	m.losses = m.s.cfg.Store.Losses()
	m.got = known{m.s.self: m.stateLocked()}
	m.told = make(map[identity.NodeID]bool)
	m.mu.Unlock()
	signal(m.kick)
}

// lostLocked reports that the store lacks what it lost: also when nobody but the
// store has noted it yet.
func (m *moves) lostLocked() bool { return m.lost || m.losses != m.s.cfg.Store.Losses() }

// forgetLoss takes the mark of a loss away, and says from when on this node
// counts again. What it was before the loss it is no longer.
func (m *moves) forgetLoss(ctx context.Context, serial, losses uint64) error {
	marks, err := m.s.cfg.Store.Marks()
	if err != nil {
		return err
	}
	stale := slices.DeleteFunc(marks, func(x store.Mark) bool {
		return x.Fact != store.FactSalvaged && (x.Fact != factWhole || x.Serial == serial)
	})
	return m.s.cfg.Store.SetMarkSince(ctx, losses, m.markNow(factFloor, [32]byte{}, serial), stale...)
}

// stateLocked is what this node says of itself. While it lacks what it lost it
// is below the floor everywhere.
func (m *moves) stateLocked() keeperState {
	if m.lostLocked() {
		return keeperState{floor: math.MaxUint64}
	}
	return keeperState{floor: m.floor, whole: slices.Clone(m.whole)}
}

// lacking reports whether this node lacks what its store lost.
func (m *moves) lacking() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lostLocked()
}

// state is this node's own, as others are told theirs.
func (m *moves) state(v *view) keeperState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v {
		return keeperState{floor: math.MaxUint64}
	}
	return m.stateLocked()
}
