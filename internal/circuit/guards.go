package circuit

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// Guards (spec/circuit.md §5.3).
const (
	// primaryCount is how many guards are preferred to all others.
	primaryCount = 3
	// outageEvery is how often an outage may be seen, so that primary guards
	// that are really gone are not tried with every success of another.
	outageEvery = 2 * time.Minute
	// sampleSize is how many guards are sampled: whoever blocks guards until
	// we use one of their own has this many to block.
	sampleSize = 20
	// maxSample bounds the sample with guards that left the directory.
	maxSample = 60
	// guardLife and guardSpread bound a guard's life, 60 to 120 days: long,
	// since each new guard is a new chance for an adversary to be it.
	guardLife   = 60 * 24 * time.Hour
	guardSpread = 60 * 24 * time.Hour
	// guardRetryMin and guardRetryMax bound the pause after a guard's failure,
	// which doubles.
	guardRetryMin = 5 * time.Second
	guardRetryMax = 5 * time.Minute
	// biasSample and biasShare find a guard that fails circuits until it likes
	// one: of that many built through it, this share in percent must succeed.
	biasSample = 60
	biasShare  = 30
)

// guard is one sampled guard. The first five fields are stored.
type guard struct {
	id             identity.NodeID
	added, expires time.Time
	tried          uint16 // circuits whose first hop stood
	built          uint16 // of these, how many were finished

	failures int
	retryAt  time.Time // aside until then
}

// guardSet is the sample, in the order of preference: the first two that are
// usable are the guard in use and the hot spare. Its owner locks.
type guardSet struct {
	list   []*guard
	outage bool      // all primary guards were aside at once
	rearm  time.Time // no outage is seen before it
}

func (s *guardSet) find(id identity.NodeID) *guard {
	for _, g := range s.list {
		if g.id == id {
			return g
		}
	}
	return nil
}

// refresh drops guards that expired and samples new ones. It reports whether
// the sample changed.
func (s *guardSet) refresh(rand io.Reader, now time.Time, d *directory.Directory) (bool, error) {
	before := len(s.list)
	s.list = slices.DeleteFunc(s.list, func(g *guard) bool { return !now.Before(g.expires) })
	changed := len(s.list) != before
	listed := 0
	for _, g := range s.list {
		if _, ok := d.Node(g.id); ok {
			listed++
		}
	}
	candidates := slices.DeleteFunc(d.Nodes(), func(n directory.Node) bool { return s.find(n.ID) != nil })
	for listed < sampleSize && len(s.list) < maxSample && len(candidates) > 0 {
		i, err := randomBelow(rand, uint64(len(candidates)))
		if err != nil {
			return changed, err
		}
		spread, err := randomBelow(rand, uint64(guardSpread/time.Second))
		if err != nil {
			return changed, err
		}
		s.list = append(s.list, &guard{
			id:      candidates[i].ID,
			added:   now,
			expires: now.Add(guardLife + time.Duration(spread)*time.Second),
		})
		candidates = slices.Delete(candidates, int(i), int(i)+1)
		listed++
		changed = true
	}
	return changed, nil
}

// primaries returns the first guards that are listed.
func (s *guardSet) primaries(d *directory.Directory) []*guard {
	var out []*guard
	for _, g := range s.list {
		if _, ok := d.Node(g.id); ok && !g.suspect() {
			if out = append(out, g); len(out) == primaryCount {
				break
			}
		}
	}
	return out
}

// usable returns the guards to try, best first. When every one has failed,
// which looks like a network that is down, it returns all of them.
func (s *guardSet) usable(now time.Time, d *directory.Directory) []directory.Node {
	var all, out []directory.Node
	for _, g := range s.list {
		n, ok := d.Node(g.id)
		if !ok || g.suspect() {
			continue
		}
		all = append(all, n)
		if !now.Before(g.retryAt) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}

// roles returns the guard in use and the hot spare, which shares nothing with
// it if that is possible. ok is false without any guard; the spare is the
// guard itself when there is only one.
func (s *guardSet) roles(now time.Time, d *directory.Directory) (inUse, spare directory.Node, ok bool) {
	nodes := s.usable(now, d)
	if len(nodes) == 0 {
		return inUse, spare, false
	}
	inUse, spare = nodes[0], nodes[0]
	for _, n := range nodes[1:] {
		if !directory.Conflict(inUse, n) {
			return inUse, n, true
		}
		if spare.ID == inUse.ID {
			spare = n
		}
	}
	return inUse, spare, true
}

// failed puts a guard aside for a while. It reports whether that was the last
// primary guard.
func (s *guardSet) failed(id identity.NodeID, now time.Time, d *directory.Directory) bool {
	g := s.find(id)
	if g == nil || now.Before(g.retryAt) {
		return false // several circuits fail together, once
	}
	pause := guardRetryMax
	if g.failures < 8 {
		pause = min(guardRetryMax, guardRetryMin<<g.failures)
	}
	g.failures++
	g.retryAt = now.Add(pause)
	if s.outage || now.Before(s.rearm) {
		return false
	}
	for _, p := range s.primaries(d) {
		if !now.Before(p.retryAt) {
			return false
		}
	}
	s.outage, s.rearm = true, now.Add(outageEvery)
	return true
}

// succeeded clears a guard's failures. If all primary guards had failed, our
// own network was down rather than they: they are tried again at once, so that
// an outage does not spend the sample.
func (s *guardSet) succeeded(id identity.NodeID, d *directory.Directory) {
	if g := s.find(id); g != nil {
		g.failures, g.retryAt = 0, time.Time{}
	}
	if s.outage {
		s.outage = false
		for _, p := range s.primaries(d) {
			p.failures, p.retryAt = 0, time.Time{}
		}
	}
}

// pause puts a guard aside without counting a failure.
func (s *guardSet) pause(id identity.NodeID, until time.Time) {
	if g := s.find(id); g != nil && g.retryAt.Before(until) {
		g.retryAt = until
	}
}

// counted records what became of a circuit whose first hop stood. It reports
// whether that made the guard a suspect.
func (s *guardSet) counted(id identity.NodeID, built bool) bool {
	g := s.find(id)
	if g == nil {
		return false
	}
	was := g.suspect()
	if g.tried == 4*biasSample { // older circuits count less
		g.tried /= 2
		g.built /= 2
	}
	g.tried++
	if built {
		g.built++
	}
	return !was && g.suspect()
}

// suspect reports whether too many circuits through g failed behind it.
func (g *guard) suspect() bool {
	return g.tried >= biasSample && int(g.built)*100 < int(g.tried)*biasShare
}

// randomBelow returns a uniform integer in [0, n), n > 0. The bias of the
// remainder is below n / 2^64.
func randomBelow(rand io.Reader, n uint64) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return 0, fmt.Errorf("circuit: randomness: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]) % n, nil
}
