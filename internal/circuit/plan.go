package circuit

import (
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// build is a circuit being built.
type build struct {
	id       uint64
	path     directory.Path
	vanguard bool // for receiving

	claimed bool      // somebody waits for it
	iso     Isolation // who
}

// plan decides what to end and starts what is missing (spec/circuit.md §5.4).
// next is when to look again.
func (m *Manager) plan() (ended map[*circuit]error, next time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	d := m.cfg.Directory.Current()
	if err := m.refreshLocked(now, d); err != nil {
		m.cfg.Logger.Error("circuit: no randomness for guards", "error", err)
		return nil, housekeeping
	}
	ended, next = m.ageLocked(now, d)
	next = min(next, m.judgeLocked(now))
	inUse, spare, ok := m.guards.roles(now, d)
	if !ok || m.closed {
		return ended, next
	}
	m.inUse = inUse.ID
	if wait := m.retryAt.Sub(now); wait > 0 {
		return ended, min(next, wait)
	}
	if !m.guards.offline.IsZero() {
		m.cfg.Endpoint.ForgetFailures() // they were our connection's
	}
	m.fillIdleLocked(now, d, inUse, spare, ended)
	return ended, next
}

// refreshLocked replaces guards and vanguards that are due.
func (m *Manager) refreshLocked(now time.Time, d *directory.Directory) error {
	changed, err := m.guards.refresh(m.rand, now, d)
	m.unsaved = m.unsaved || changed
	if err != nil {
		return err
	}
	if changed, err = m.vanguards.refresh(m.rand, now, d, m.guards.primary(d)); changed {
		m.unsaved = true
		m.noteVanguardsLocked(d)
	}
	return err
}

// ageLocked retires what is old, or leads over a node that d does not list. It
// returns what is to be ended.
func (m *Manager) ageLocked(now time.Time, d *directory.Directory) (ended map[*circuit]error, next time.Duration) {
	ended, next = make(map[*circuit]error), housekeeping
	for _, c := range m.circuits {
		if c.dead() {
			continue
		}
		m.noteLeavingLocked(c, now)
		if !c.retired && !pathListed(d, c.path) {
			c.unlisted = true
			c.retireLocked()
			m.noteRetiredLocked(c)
		}
		if left := c.dueAt().Sub(now); left > 0 && !c.usedUp() {
			next = min(next, left)
		} else if !c.retired {
			c.retireLocked()
			m.noteRetiredLocked(c)
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

// pathListed reports whether a directory lists all nodes of a path.
func pathListed(d *directory.Directory, p directory.Path) bool {
	for _, n := range []directory.Node{p.Guard, p.Middle, p.Exit} {
		if _, ok := d.Node(n.ID); !ok {
			return false
		}
	}
	return true
}

// dueAt is when c retires. It needs Manager.mu.
func (c *circuit) dueAt() time.Time {
	if c.used {
		return c.usedAt.Add(c.life)
	}
	return c.builtAt.Add(c.life)
}

// retireLocked makes c take no new streams. It needs Manager.mu.
func (c *circuit) retireLocked() {
	if !c.retired {
		c.retired = true
		close(c.retiring)
	}
}

// slot is a place for idle circuits.
type slot struct {
	guard    identity.NodeID
	vanguard bool
}

// slots returns how many idle circuits each place wants: most for sending
// through the guard in use, one for receiving, and one through the hot spare.
func (m *Manager) slots(inUse, spare identity.NodeID) map[slot]int {
	most := slot{guard: inUse}
	want := map[slot]int{most: m.cfg.Idle}
	if spare != inUse && want[most] > 1 {
		want[most]--
		want[slot{guard: spare}]++
	}
	if want[most] > 1 {
		want[most]--
		want[slot{guard: inUse, vanguard: true}]++
	}
	return want
}

// fillIdleLocked starts builds until Idle circuits are ready or being built.
// Once they stand, idle circuits elsewhere are ended.
func (m *Manager) fillIdleLocked(now time.Time, d *directory.Directory, inUse, spare directory.Node, ended map[*circuit]error) {
	want := m.slots(inUse.ID, spare.ID)
	for b := range m.builds {
		want[slot{b.path.Guard.ID, b.vanguard}]--
	}
	var surplus []*circuit
	standing := 0
	for _, c := range m.circuits {
		if c.used || c.retired || c.dead() {
			continue
		}
		at := slot{c.path.Guard.ID, c.vanguard}
		if want[at]--; want[at] < 0 {
			surplus = append(surplus, c)
		} else {
			standing++
		}
	}
	if standing == m.cfg.Idle {
		for _, c := range surplus {
			c.retireLocked()
			ended[c] = errSurplus
		}
	}
	for _, at := range []slot{{inUse.ID, false}, {inUse.ID, true}, {spare.ID, false}} {
		for ; want[at] > 0 && len(m.builds) < maxBuilds && len(m.circuits)+len(m.builds) < maxCircuits; want[at]-- {
			path, err := m.choosePathLocked(now, d, at.vanguard, directory.PathRequest{Guard: at.guard})
			if err != nil {
				m.lastErr = err
				m.changedLocked()
				m.tooSmallLocked(err)
				break
			}
			m.startLocked(path, at.vanguard)
		}
	}
}

// startLocked starts to build a circuit along path.
func (m *Manager) startLocked(path directory.Path, vanguard bool) *build {
	m.lastID++
	b := &build{id: m.lastID, path: path, vanguard: vanguard}
	m.builds[b] = struct{}{}
	m.wg.Go(func() { m.runBuild(b) })
	return b
}

// runBuild builds a circuit and serves it until it is dead.
func (m *Manager) runBuild(b *build) {
	t, err := m.telescopeTo(b.path)
	if err != nil {
		m.buildFailed(b, err)
		return
	}
	c := newCircuit(b, t, m)
	if err := m.buildDone(b, c); err != nil {
		c.fail(err)
	}
	c.run()
	m.circuitEnded(c)
}
