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
	// primaryCount is how many guards are preferred to all others, and the only
	// ones that are tried at first when none answers.
	primaryCount = 3
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
	// guardSteady is how long a guard must not fail for its earlier failures to
	// be forgotten: one that comes and goes is left alone longer each time.
	guardSteady = 10 * time.Minute
)

// Our own connection (spec/circuit.md §5.3).
const (
	// offlineAfter is how many guards must be silent, and none answering since
	// the first of them, for the silence to be our own connection's.
	offlineAfter = 2
	// confirmWithin is how soon after a guard's failure another one must answer
	// to show that the failure was the guard's.
	confirmWithin = 10 * time.Second
	// judgeAfter is how long a link must outlive a failure to show that our own
	// connection had no part in it: its own death shows within 3 s.
	judgeAfter = 4 * time.Second
	// widenEvery is how often one more guard beyond the primary ones is tried
	// while none answers: they may be blocked, or gone, all three of them.
	widenEvery = 10 * time.Second
	// offlineRetry bounds the pause between attempts while none answers, so that
	// the connection's return is noticed at once.
	offlineRetry = time.Second
)

// guard is one sampled guard. The first fields are stored.
type guard struct {
	id             identity.NodeID
	added, expires time.Time
	bias           bias

	failures int       // that another guard's answer showed to be its own
	failedAt time.Time // the last one
	silent   bool      // it failed, and no guard has answered since
	own      bool      // our own socket failed, not the guard
	retryAt  time.Time // aside until then
}

// guardSet is the sample, in the order of preference: the first two that are
// usable are the guard in use and the hot spare. Its owner locks.
type guardSet struct {
	list    []*guard
	offline time.Time // since when none answers; zero if that is not so
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

// trusted returns the guards that are listed and no suspects, best first. If
// every one is a suspect, which says more of our own connection than of them,
// it returns them all: a client without guards would be cut off for months.
func (s *guardSet) trusted(d *directory.Directory) (nodes []directory.Node, guards []*guard) {
	for _, suspects := range []bool{false, true} {
		for _, g := range s.list {
			if n, ok := d.Node(g.id); ok && g.bias.suspect() == suspects {
				nodes, guards = append(nodes, n), append(guards, g)
			}
		}
		if len(nodes) > 0 {
			break
		}
	}
	return nodes, guards
}

// primary returns the guards that are preferred to all others.
func (s *guardSet) primary(d *directory.Directory) []directory.Node {
	nodes, _ := s.trusted(d)
	return nodes[:min(primaryCount, len(nodes))]
}

// usable returns the guards to try, best first. While none answers these are
// the primary ones, and slowly more: walking through the sample at each outage
// would show it to as many guards. When every one is aside, all are tried.
func (s *guardSet) usable(now time.Time, d *directory.Directory) []directory.Node {
	nodes, guards := s.trusted(d)
	if !s.offline.IsZero() {
		reach := primaryCount + int(max(0, now.Sub(s.offline))/widenEvery)
		nodes = nodes[:min(reach, len(nodes))]
	}
	var out []directory.Node
	for i, n := range nodes {
		if !now.Before(guards[i].retryAt) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nodes
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

// failed puts a guard aside that did not answer, or (own) that our own socket
// could not send to. Whose failure it was is judged by the next answer of any
// guard. standing says whether circuits over others stand. failed reports
// whether this was the failure that shows that none answers.
func (s *guardSet) failed(id identity.NodeID, now time.Time, d *directory.Directory, own, standing bool) bool {
	g := s.find(id)
	if g == nil || now.Before(g.retryAt) && g.silent {
		return false // several circuits fail together, once
	}
	g.silent, g.own, g.failedAt = true, own, now
	if again := now.Add(guardRetryMin); g.retryAt.Before(again) {
		g.retryAt = again
	}
	if standing || !s.offline.IsZero() {
		return false
	}
	_, guards := s.trusted(d)
	silent := 0
	for _, g := range guards {
		if g.silent {
			silent++
		}
	}
	if silent == 0 || silent < min(offlineAfter, len(guards)) {
		return false
	}
	s.offline = now
	return true
}

// refused counts the failure of a guard that answered: it will not, or cannot,
// have us now.
func (s *guardSet) refused(id identity.NodeID, now time.Time) {
	if g := s.find(id); g != nil && !now.Before(g.retryAt) {
		g.failedAt = now
		g.confirm()
	}
}

// succeeded takes an answer of a guard. Those that failed a moment ago, after
// this one's own last failure, failed by themselves: they are left alone for a
// pause that doubles. Any other silence was our own connection's, and is
// forgotten. It reports whether none had answered before.
func (s *guardSet) succeeded(id identity.NodeID, now time.Time) (wasOffline bool) {
	wasOffline = !s.offline.IsZero()
	s.offline = time.Time{}
	by := s.find(id)
	for _, g := range s.list {
		if g == by || !g.silent {
			continue
		}
		theirs := !wasOffline && !g.own && now.Sub(g.failedAt) <= confirmWithin &&
			(by == nil || by.failedAt.Before(g.failedAt))
		g.silent, g.retryAt = false, time.Time{}
		if theirs {
			g.confirm()
		} else if g.own {
			g.retryAt = g.failedAt.Add(guardRetryMin)
		}
	}
	if by != nil {
		by.silent, by.retryAt = false, time.Time{}
		if now.Sub(by.failedAt) >= guardSteady {
			by.failures = 0
		}
	}
	return wasOffline
}

// judge counts the failures of guards that others outlived: beside tells whether
// a circuit over another guard stands. It returns when to look again.
func (s *guardSet) judge(now time.Time, beside func(identity.NodeID) bool) time.Duration {
	next := housekeeping
	for _, g := range s.list {
		if !g.silent || g.own {
			continue
		}
		if left := g.failedAt.Add(judgeAfter).Sub(now); left > 0 {
			next = min(next, left)
		} else if beside(g.id) {
			g.silent = false
			g.confirm()
		}
	}
	return next
}

// confirm counts a failure that was the guard's own.
func (g *guard) confirm() {
	g.retryAt = g.failedAt.Add(guardPause(g.failures))
	g.failures++
}

// guardPause is how long a guard is left alone that had failed so often before.
func guardPause(failures int) time.Duration {
	if failures >= 8 {
		return guardRetryMax
	}
	return min(guardRetryMax, guardRetryMin<<failures)
}

// pause puts a guard aside without counting a failure.
func (s *guardSet) pause(id identity.NodeID, until time.Time) {
	if g := s.find(id); g != nil && g.retryAt.Before(until) {
		g.retryAt = until
	}
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
