package circuit

import (
	"errors"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
)

// build is a circuit being built.
type build struct {
	id   uint64
	path directory.Path
}

// plan decides what to end and starts what is missing (spec/circuit.md §5.4).
// next is when to look again.
func (m *Manager) plan() (ended map[*circuit]error, next time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	d := m.cfg.Directory.Current()
	changed, err := m.guards.refresh(m.rand, now, d)
	m.unsaved = m.unsaved || changed
	if err != nil {
		m.cfg.Logger.Error("circuit: no randomness for guards", "error", err)
		return nil, housekeeping
	}
	ended, next = m.ageLocked(now)
	inUse, spare, ok := m.guards.roles(now, d)
	if !ok || m.closed {
		return ended, next
	}
	m.noteGuardLocked(inUse)
	if wait := m.retryAt.Sub(now); wait > 0 {
		return ended, min(next, wait)
	}
	return ended, min(next, m.fillIdleLocked(now, d, inUse, spare, ended))
}

// ageLocked retires what is old and returns what is to be ended.
func (m *Manager) ageLocked(now time.Time) (ended map[*circuit]error, next time.Duration) {
	ended, next = make(map[*circuit]error), housekeeping
	for _, c := range m.circuits {
		if c.dead() {
			continue
		}
		m.noteLeavingLocked(c, now)
		due := c.dueAt()
		if left := due.Sub(now); left > 0 {
			next = min(next, left)
		} else {
			c.retired = true
		}
		switch streams := c.streamCount(); {
		case streams > 0:
			c.lastUse = now
		case c.retired:
			ended[c] = c.endOf()
		case c.used && now.Sub(c.lastUse) > unusedAge:
			ended[c] = errSurplus
		}
	}
	return ended, next
}

// dueAt is when c retires. It needs Manager.mu.
func (c *circuit) dueAt() time.Time {
	switch {
	case !c.used:
		return c.builtAt.Add(maxIdleAge)
	case c.iso.Purpose == Receive:
		return c.usedAt.Add(maxReceiveAge)
	default:
		return c.usedAt.Add(maxAge)
	}
}

// fillIdleLocked starts builds until Idle circuits are ready or being built:
// one through the hot spare, the others through the guard in use. Once they
// stand, idle circuits over other guards are ended.
func (m *Manager) fillIdleLocked(now time.Time, d *directory.Directory, inUse, spare directory.Node, ended map[*circuit]error) time.Duration {
	want := map[identity.NodeID]int{inUse.ID: m.cfg.Idle}
	if spare.ID != inUse.ID && m.cfg.Idle > 1 {
		want[inUse.ID], want[spare.ID] = m.cfg.Idle-1, 1
	}
	for b := range m.builds {
		want[b.path.Guard.ID]--
	}
	var surplus []*circuit
	standing := 0
	for _, c := range m.circuits {
		if c.used || c.retired || c.dead() {
			continue
		}
		if want[c.path.Guard.ID]--; want[c.path.Guard.ID] < 0 {
			surplus = append(surplus, c)
		} else {
			standing++
		}
	}
	if standing == m.cfg.Idle {
		for _, c := range surplus {
			c.retired = true
			ended[c] = errSurplus
		}
	}
	for _, guard := range []directory.Node{inUse, spare} {
		for ; want[guard.ID] > 0 && len(m.builds) < maxBuilds && len(m.circuits)+len(m.builds) < maxCircuits; want[guard.ID]-- {
			if err := m.startIdleLocked(now, d, guard); err != nil {
				m.lastErr = err
				m.changedLocked()
				m.cfg.Logger.Warn("circuit: no path", "error", err)
				return housekeeping
			}
		}
	}
	return housekeeping
}

func (m *Manager) startIdleLocked(now time.Time, d *directory.Directory, guard directory.Node) error {
	path, err := d.ChoosePath(m.rand, directory.PathRequest{Guard: guard.ID, Avoid: m.avoidedLocked(now, d)})
	if errors.Is(err, directory.ErrTooSmall) && len(m.avoid) > 0 {
		path, err = d.ChoosePath(m.rand, directory.PathRequest{Guard: guard.ID})
	}
	if err != nil {
		return err
	}
	m.startLocked(path)
	return nil
}

// startLocked starts to build a circuit along path.
func (m *Manager) startLocked(path directory.Path) {
	m.lastID++
	b := &build{m.lastID, path}
	m.builds[b] = struct{}{}
	m.wg.Go(func() { m.runBuild(b) })
}

// runBuild builds a circuit and serves it until it is dead.
func (m *Manager) runBuild(b *build) {
	t, err := m.telescopeTo(b.path)
	if err != nil {
		m.buildFailed(b, err)
		return
	}
	c := newCircuit(b.id, b.path, t, m)
	if !m.buildDone(b, c) {
		c.fail(ErrClosed)
	}
	c.run()
	m.circuitEnded(c)
}

// buildDone adds a new circuit; false if the Manager was closed meanwhile.
func (m *Manager) buildDone(b *build, c *circuit) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.builds, b)
	if m.closed {
		return false
	}
	d := m.cfg.Directory.Current()
	m.circuits[c.id] = c
	m.failures, m.retryAt, m.lastErr = 0, time.Time{}, nil
	m.guards.succeeded(b.path.Guard.ID, d)
	m.guards.counted(b.path.Guard.ID, true)
	m.emit(EventBuilt, c.id, "A path is ready: %s, %s, %s.", b.path.Guard.Operator, b.path.Middle.Operator, b.path.Exit.Operator)
	m.changedLocked()
	m.kickMaintain()
	return true
}

// buildFailed records a failed build and whom it speaks against.
func (m *Manager) buildFailed(b *build, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.builds, b)
	defer m.kickMaintain()
	defer m.changedLocked()
	if m.closed {
		return
	}
	now := m.cfg.Now()
	m.lastErr = err
	if m.failures++; m.failures >= freeFailures {
		m.retryAt = now.Add(min(retryMax, retryMin<<min(m.failures-freeFailures, 8)))
	}
	m.emit(EventFailed, b.id, "A path could not be built: %v.", err)
	var at *buildError
	if !errors.As(err, &at) || m.leftBuildLocked(at, now) {
		return
	}
	var backoff *link.BackoffError
	guardFailed, later := at.blame()
	if errors.As(err, &backoff) {
		// Nothing was tried: the failure before it has been counted.
		m.guards.pause(b.path.Guard.ID, now.Add(backoff.Wait))
	} else if guardFailed {
		m.guardFailedLocked(b.path.Guard.ID, now)
	} else if at.hop > 0 && m.guards.counted(b.path.Guard.ID, false) {
		m.emit(EventGuard, 0, "The entry node of %s fails too many paths and is not used any more.", b.path.Guard.Operator)
	}
	if later {
		m.avoidLocked(at.node.ID, now)
	}
}

// guardFailedLocked puts a guard aside.
func (m *Manager) guardFailedLocked(id identity.NodeID, now time.Time) {
	if m.guards.failed(id, now, m.cfg.Directory.Current()) {
		m.emit(EventOffline, 0, "No entry node answers. Is this computer online?")
	}
}

// circuitEnded forgets a dead circuit.
func (m *Manager) circuitEnded(c *circuit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.circuits, c.id)
	if m.closed {
		return
	}
	err, lost := c.cause()
	if lost {
		// The link is made anew only after a pause; others take over at once.
		m.guardFailedLocked(c.path.Guard.ID, m.cfg.Now())
	}
	m.emit(EventClosed, c.id, "A path has ended: %v.", err)
	m.changedLocked()
	m.kickMaintain()
}

// noteGuardLocked tells when another guard takes over.
func (m *Manager) noteGuardLocked(n directory.Node) {
	if m.inUse == n.ID {
		return
	}
	m.inUse = n.ID
	m.emit(EventGuard, 0, "Paths now begin at the entry node of %s.", n.Operator)
}

// avoidLocked leaves a node out for a while.
func (m *Manager) avoidLocked(id identity.NodeID, now time.Time) {
	if _, ok := m.avoid[id]; ok || len(m.avoid) < maxAvoid {
		m.avoid[id] = now.Add(avoidFor)
	}
}

// avoidedLocked returns the nodes to leave out, at most a quarter of all.
func (m *Manager) avoidedLocked(now time.Time, d *directory.Directory) []identity.NodeID {
	var out []identity.NodeID
	for id, until := range m.avoid {
		if !now.Before(until) {
			delete(m.avoid, id)
		} else if len(out) < d.Len()/4 {
			out = append(out, id)
		}
	}
	return out
}
