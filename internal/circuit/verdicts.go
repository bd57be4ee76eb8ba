package circuit

import (
	"errors"
	"strings"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// What the end of a build or of a circuit says of the nodes on it
// (spec/circuit.md §5.2, §5.3, §5.8).

// buildDone adds a new circuit. It returns why the circuit is to be dropped
// instead: the Manager was closed meanwhile, or it is slow and nobody waits.
func (m *Manager) buildDone(b *build, c *circuit) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.builds, b)
	if m.closed {
		return ErrClosed
	}
	now := m.cfg.Now()
	m.circuits[c.id] = c
	m.failures, m.retryAt, m.lastErr = 0, time.Time{}, nil
	m.answeredLocked(b.path.Guard, now)
	if b.vanguard {
		m.vanguards.succeeded(b.path.Middle.ID)
	}
	m.pace.add(c.rtt)
	defer m.kickMaintain()
	defer m.changedLocked()
	if !b.claimed && m.pace.slow(c.rtt) {
		// A guard that delays what it does not like gains no more than by failing it.
		m.builtLocked(b.path.Guard, false)
		c.retireLocked()
		return errSlow
	}
	m.builtLocked(b.path.Guard, true)
	m.emit(EventBuilt, c.id, "A path is ready: %s, %s, %s.", b.path.Guard.Operator, b.path.Middle.Operator, b.path.Exit.Operator)
	return nil
}

// answeredLocked takes it that a guard answered.
func (m *Manager) answeredLocked(guard directory.Node, now time.Time) {
	if m.guards.succeeded(guard.ID, now) {
		m.cfg.Endpoint.ForgetFailures() // the primary guards are tried at once
		m.emit(EventOnline, 0, "The network answers again.")
	}
	if guard.ID == m.inUse && guard.ID != m.told {
		m.told = guard.ID
		m.emit(EventGuard, 0, "Paths now begin at the entry node of %s.", guard.Operator)
	}
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
	m.emit(EventFailed, b.id, "A path could not be built: %v.", err)
	var at *buildError
	if errors.As(err, &at) && !m.leftBuildLocked(at, now) {
		m.blameLocked(b, at, now)
	}
	if m.failures++; m.failures >= freeFailures {
		pause := min(retryMax, retryMin<<min(m.failures-freeFailures, 8))
		if !m.guards.offline.IsZero() {
			pause = min(pause, offlineRetry)
		}
		m.retryAt = now.Add(pause)
	}
}

// blameLocked counts a failed build against the nodes that it speaks against.
func (m *Manager) blameLocked(b *build, at *buildError, now time.Time) {
	var backoff *link.BackoffError
	guardFailed, later := at.blame()
	switch {
	case errors.As(at, &backoff):
		// Nothing was tried: the failure before it has been counted.
		m.guards.pause(b.path.Guard.ID, now.Add(backoff.Wait))
	case guardFailed && at.refused():
		m.guards.refused(b.path.Guard.ID, now)
	case guardFailed:
		m.guardFailedLocked(b.path.Guard.ID, now, ownFault(at))
	case at.hop > 0:
		m.builtLocked(b.path.Guard, false)
	}
	if !later {
		return
	}
	if m.avoidLocked(at.node.ID, now); b.vanguard && at.hop == 1 && m.vanguards.failed(at.node.ID, now) {
		m.unsaved = true
		m.cfg.Logger.Info("circuit: a vanguard was given up")
	}
}

// guardFailedLocked puts a guard aside; own says that our own socket failed.
func (m *Manager) guardFailedLocked(id identity.NodeID, now time.Time, own bool) {
	if !m.guards.failed(id, now, m.cfg.Directory.Current(), own, m.standsBesideLocked(id)) {
		return
	}
	if own {
		m.emit(EventOffline, 0, "This computer has no connection to the network.")
	} else {
		m.emit(EventOffline, 0, "No entry node answers. Is this computer online?")
	}
}

// standsBesideLocked reports whether a circuit stands over a guard other than id.
func (m *Manager) standsBesideLocked(id identity.NodeID) bool {
	return m.anyLocked(func(c *circuit) bool { return c.path.Guard.ID != id })
}

// standsLocked reports whether a circuit stands over the guard id.
func (m *Manager) standsLocked(id identity.NodeID) bool {
	return m.anyLocked(func(c *circuit) bool { return c.path.Guard.ID == id })
}

// anyLocked reports whether ok holds for a live circuit.
func (m *Manager) anyLocked(ok func(*circuit) bool) bool {
	for _, c := range m.circuits {
		if ok(c) && !c.dead() {
			return true
		}
	}
	return false
}

func linkDone(l liver) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// channelFailed leaves out for a while whose death may be what ended a circuit.
// It comes before the circuit's streams hear of it: who tries again at once
// would otherwise meet the same node, and wait for it.
func (m *Manager) channelFailed(path directory.Path, lost bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	var why *ReasonError
	switch {
	case m.closed:
	case lost:
		m.guardFailedLocked(path.Guard.ID, now, false)
		m.avoidLocked(path.Guard.ID, now)
	case errors.As(err, &why) && why.Reason == onion.ReasonLinkLost:
		m.avoidLocked(path.Middle.ID, now)
		m.avoidLocked(path.Exit.ID, now)
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
	now, o := m.cfg.Now(), c.outcome()
	switch {
	case o.lost: // judged already, by channelFailed
	case announced(c, o.err):
	case othersFault(o.err):
		m.deaths = append(m.deaths, death{c.path.Guard, c.link, now, c.used})
	case o.served:
		m.servedLocked(c.path.Guard, true)
	}
	m.emit(EventClosed, c.id, "A path has ended: %v.", o.err)
	m.changedLocked()
	m.kickMaintain()
}

// announced reports whether a relay ended a circuit as going down after one of
// its hops had said so. The reason alone proves nothing: the guard, or anybody
// else on the way, can write it on the circuits that it does not like.
func announced(c *circuit, err error) bool {
	var why *ReasonError
	return errors.As(err, &why) && why.Reason == onion.ReasonShutdown && c.leaving.Load() != 0
}

// death is a circuit that died without its link.
type death struct {
	guard directory.Node
	link  liver
	at    time.Time
	used  bool
}

// liver is a *link.Link, as far as it is judged.
type liver interface{ Done() <-chan struct{} }

// judgeLocked counts failures and deaths against their guards, unless the links died after
// all: then our own connection was going already. It returns when to look again.
func (m *Manager) judgeLocked(now time.Time) time.Duration {
	next := m.guards.judge(now, m.standsBesideLocked)
	for len(m.deaths) > 0 {
		first := m.deaths[0]
		if left := first.at.Add(judgeAfter).Sub(now); left > 0 {
			return min(next, left)
		}
		m.deaths = m.deaths[1:]
		switch {
		case linkDone(first.link):
		case first.used:
			m.servedLocked(first.guard, false)
		default:
			// A guard that waits for the whole path before it fails it gains nothing.
			m.verdictLocked(first.guard, m.guards.unbuilt(first.guard.ID))
		}
	}
	return next
}

// builtLocked and servedLocked count a circuit for its guard, and tell what
// that shows.
func (m *Manager) builtLocked(guard directory.Node, good bool) {
	m.verdictLocked(guard, m.guards.countBuilt(guard.ID, good))
}

func (m *Manager) servedLocked(guard directory.Node, good bool) {
	m.verdictLocked(guard, m.guards.countServed(guard.ID, good))
}

func (m *Manager) verdictLocked(guard directory.Node, v verdict) {
	m.counted = true
	switch v {
	case doubted:
		m.emit(EventDoubt, 0, "Many paths through the entry node of %s fail.", guard.Operator)
	case suspected:
		m.unsaved = true
		m.emit(EventSuspect, 0, "The entry node of %s fails too many paths and is not used any more.", guard.Operator)
	}
}

// noteVanguardsLocked tells who the middles for receiving are.
func (m *Manager) noteVanguardsLocked(d *directory.Directory) {
	var names []string
	for _, id := range m.vanguards.ids() {
		if n, ok := d.Node(id); ok {
			names = append(names, n.Operator)
		}
	}
	m.emit(EventVanguards, 0, "Paths for receiving run through %s.", strings.Join(names, ", "))
	if len(names) < vanguardCount {
		m.emit(EventTooSmall, 0, "Only %d nodes differ enough in operator and network to be in the middle of paths for receiving; %d are wanted.", len(names), vanguardCount)
	}
}

// noteRetiredLocked tells that what stands on a circuit in use moves.
func (m *Manager) noteRetiredLocked(c *circuit) {
	switch {
	case c.used && c.unlisted:
		m.emit(EventRetired, c.id, "A path for %s takes nothing new: one of its relays has left the network.", c.iso.Purpose)
	case c.used:
		m.emit(EventRetired, c.id, "A path for %s takes nothing new: its time is up.", c.iso.Purpose)
	}
}

// tooSmallLocked tells, once, that no path can exist.
func (m *Manager) tooSmallLocked(err error) {
	if text := err.Error(); !m.said[text] && len(m.said) < maxSaid {
		m.said[text] = true
		m.emit(EventTooSmall, 0, "No path can be made: %v.", err)
		m.cfg.Logger.Warn("circuit: no path", "error", err)
	}
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
