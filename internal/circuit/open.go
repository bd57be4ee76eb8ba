package circuit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// request is one caller's wish for a stream.
type request struct {
	iso    Isolation
	target directory.Node
	avoid  []Isolation
}

// receives reports whether r needs a vanguard as the middle.
func (r *request) receives() bool { return r.iso.Purpose == Receive }

// OpenStream returns a stream to target over a circuit that belongs to iso
// alone. It takes a circuit that stands, or else waits for one. Nothing is sent
// before the first Write. The error is ErrUnknownTarget, ErrClosed or ErrLimit,
// or wraps directory.ErrTooSmall or ErrNoCircuit.
func (m *Manager) OpenStream(ctx context.Context, iso Isolation, target identity.NodeID, options ...Option) (*Stream, error) {
	node, ok := m.cfg.Directory.Current().Node(target)
	if !ok {
		return nil, ErrUnknownTarget
	}
	r := &request{iso: iso, target: node}
	for _, o := range options {
		o(r)
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	hedge := time.NewTimer(hedgeAfter)
	defer hedge.Stop()
	wanted := 1
	for {
		s, changed, again, err := m.tryOpen(r, wanted)
		if s != nil || err != nil {
			return s, err
		}
		var retry <-chan time.Time
		if again > 0 {
			t := time.NewTimer(again)
			defer t.Stop()
			retry = t.C
		}
		select {
		case <-changed:
		case <-retry:
		case <-hedge.C:
			wanted = 2
		case <-ctx.Done():
			m.mu.Lock()
			last := m.lastErr
			m.mu.Unlock()
			return nil, noCircuit(ctx.Err(), last)
		case <-m.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// tryOpen returns a stream if a circuit for r stands. Otherwise it sees to it
// that as many as wanted are being built, and returns what to wait for.
func (m *Manager) tryOpen(r *request, wanted int) (_ *Stream, changed <-chan struct{}, again time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, 0, ErrClosed
	}
	if c := m.pickLocked(r); c != nil {
		if s := m.assignLocked(c, r); s != nil {
			return s, nil, 0, nil
		}
	}
	again, err = m.buildForLocked(r, wanted)
	return nil, m.changed, again, err
}

// pickLocked chooses a circuit for r: one of its own, else an idle one, the
// guard in use preferred, else none.
func (m *Manager) pickLocked(r *request) *circuit {
	exits := m.exitsOfLocked(r.avoid)
	var best *circuit
	for _, c := range m.circuits {
		if m.fitsLocked(c, r, exits) && (best == nil || m.betterLocked(c, best)) {
			best = c
		}
	}
	return best
}

// fitsLocked reports whether r may use c.
func (m *Manager) fitsLocked(c *circuit, r *request, exits []directory.Node) bool {
	if c.retired || c.used && c.iso != r.iso || c.vanguard != r.receives() || c.dead() {
		return false
	}
	return pathFits(c.path, r, exits) && c.takesStreams()
}

// pathFits reports whether a path serves r's target under the diversity rules
// and avoids the given exits.
func pathFits(p directory.Path, r *request, exits []directory.Node) bool {
	for _, n := range []directory.Node{p.Guard, p.Middle, p.Exit} {
		if directory.Conflict(n, r.target) {
			return false
		}
	}
	return !slices.ContainsFunc(exits, func(n directory.Node) bool { return directory.Conflict(n, p.Exit) })
}

// betterLocked prefers a circuit that is in use already, then the guard in use,
// then the older one.
func (m *Manager) betterLocked(a, b *circuit) bool {
	if a.used != b.used {
		return a.used
	}
	if first := a.path.Guard.ID == m.inUse; first != (b.path.Guard.ID == m.inUse) {
		return first
	}
	return a.id < b.id
}

// exitsOfLocked returns the exits of the circuits that stand for isolations.
func (m *Manager) exitsOfLocked(isolations []Isolation) []directory.Node {
	var out []directory.Node
	for _, c := range m.circuits {
		if c.used && !c.dead() && slices.Contains(isolations, c.iso) {
			out = append(out, c.path.Exit)
		}
	}
	return out
}

// assignLocked gives c to r and opens the stream; nil if c died meanwhile.
func (m *Manager) assignLocked(c *circuit, r *request) *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil
	}
	now := m.cfg.Now()
	if !c.used {
		c.used, c.iso, c.usedAt = true, r.iso, now
		c.life = m.shortened(maxAge)
		if r.receives() {
			c.life = m.shortened(maxReceiveAge)
		}
		m.kickMaintain() // an idle one is to be replaced
	}
	c.lastUse = now
	return c.openLocked(r.target.ID, r.iso.Purpose)
}

// buildForLocked sees to it that wanted builds that would serve r are under
// way. again is when to try next if none may start now.
func (m *Manager) buildForLocked(r *request, wanted int) (again time.Duration, err error) {
	exits := m.exitsOfLocked(r.avoid)
	under, over := m.claimLocked(r, exits, wanted)
	if under >= wanted {
		return 0, nil
	}
	now := m.cfg.Now()
	if wait := m.retryAt.Sub(now); wait > 0 {
		return wait, nil
	}
	if len(m.circuits)+len(m.builds) >= maxCircuits {
		return 0, m.evictLocked()
	}
	if len(m.builds) >= maxBuilds {
		return 0, nil
	}
	return m.startForLocked(r, exits, over, now)
}

// claimLocked counts the builds that would serve r, those included that nobody
// else waits for, as long as each is over another guard: they become r's. It
// returns these guards, too.
func (m *Manager) claimLocked(r *request, exits []directory.Node, wanted int) (under int, over map[identity.NodeID]bool) {
	over = make(map[identity.NodeID]bool)
	for _, claimed := range []bool{true, false} {
		for b := range m.builds {
			switch {
			case b.claimed != claimed || claimed && b.iso != r.iso:
			case b.vanguard != r.receives() || !pathFits(b.path, r, exits):
			case !claimed && (under >= wanted || over[b.path.Guard.ID]):
			default:
				b.claimed, b.iso = true, r.iso
				under++
				over[b.path.Guard.ID] = true
			}
		}
	}
	return under, over
}

// evictLocked ends the circuit without streams that was used longest ago. The
// caller waits until it is gone. ErrLimit if every circuit has streams.
func (m *Manager) evictLocked() error {
	var oldest *circuit
	for _, c := range m.circuits {
		if c.dead() {
			return nil // on its way out already
		}
		if c.streamCount() == 0 && (oldest == nil || c.lastUse.Before(oldest.lastUse)) {
			oldest = c
		}
	}
	if oldest == nil {
		return ErrLimit
	}
	oldest.retireLocked()
	oldest.fail(errSurplus)
	return nil
}

// startForLocked starts a build for r beside those over the given guards, unless
// it has to wait.
func (m *Manager) startForLocked(r *request, exits []directory.Node, over map[identity.NodeID]bool, now time.Time) (again time.Duration, err error) {
	path, again, err := m.pathForLocked(r, exits, over, now)
	if path == nil {
		if err != nil {
			m.tooSmallLocked(err)
		}
		return again, err
	}
	b := m.startLocked(*path, r.receives())
	b.claimed, b.iso = true, r.iso
	return 0, nil
}

// pathForLocked chooses a path for r over the first guard that the rules allow.
// again is when to try next if there is none now.
func (m *Manager) pathForLocked(r *request, exits []directory.Node, over map[identity.NodeID]bool, now time.Time) (_ *directory.Path, again time.Duration, err error) {
	d := m.cfg.Directory.Current()
	avoidExits := make([]identity.NodeID, len(exits))
	for i, n := range exits {
		avoidExits[i] = n.ID
	}
	conflicts := func(n directory.Node) bool { return directory.Conflict(n, r.target) }
	guards := slices.DeleteFunc(m.guards.usable(now, d), conflicts)
	if len(guards) == 0 {
		if slices.IndexFunc(d.Nodes(), func(n directory.Node) bool { return !conflicts(n) && m.guards.find(n.ID) != nil }) < 0 {
			return nil, 0, fmt.Errorf("%w: every guard conflicts with the target", directory.ErrTooSmall)
		}
		return nil, retryMax, nil // the others failed a moment ago
	}
	m.orderLocked(guards, over)
	for i, guard := range guards[:min(len(guards), primaryCount)] {
		path, why := m.choosePathLocked(now, d, r.receives(), directory.PathRequest{
			Guard: guard.ID, Target: r.target.ID, AvoidExits: avoidExits,
		})
		if why == nil {
			return &path, 0, nil
		}
		if i == 0 {
			err = why
		}
	}
	return nil, 0, err
}

// orderLocked puts guards into the order for a build beside others over the
// given guards: first those over which a circuit stands, last those others.
func (m *Manager) orderLocked(guards []directory.Node, over map[identity.NodeID]bool) {
	if len(over) == 0 {
		return
	}
	rank := func(n directory.Node) int {
		switch {
		case over[n.ID]:
			return 2
		case m.standsLocked(n.ID):
			return 0
		}
		return 1
	}
	slices.SortStableFunc(guards, func(a, b directory.Node) int { return rank(a) - rank(b) })
}

// choosePathLocked chooses a path, through a vanguard if it is for receiving.
// Better a node that failed a moment ago than none.
func (m *Manager) choosePathLocked(now time.Time, d *directory.Directory, receives bool, req directory.PathRequest) (directory.Path, error) {
	if receives {
		req.Middles = m.vanguards.ids()
	}
	req.Avoid = m.avoidedLocked(now, d)
	path, err := d.ChoosePath(m.rand, req)
	if errors.Is(err, directory.ErrTooSmall) && len(req.Avoid) > 0 {
		req.Avoid = nil
		path, err = d.ChoosePath(m.rand, req)
	}
	return path, err
}
