package circuit

import (
	"io"
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// Vanguards (spec/circuit.md §5.7), as in Tor's vanguards-spec: second-layer
// guards, the only middles of circuits for receiving.
const (
	// vanguardCount is how many are kept: an adversary that makes us build
	// circuits again and again meets only these, instead of every node.
	vanguardCount = 4
	// vanguardMin and vanguardSpread bound the uniform draws of which the larger
	// is a vanguard's life, 1 to 12 days: long against who must wait to be
	// chosen, short against who attacks those that are.
	vanguardMin    = 24 * time.Hour
	vanguardSpread = 11 * 24 * time.Hour
	// vanguardFailures and vanguardPatience are how often and over how long a
	// vanguard must fail without a success to be replaced.
	vanguardFailures = 5
	vanguardPatience = time.Hour
	// vanguardGap is how far two such replacements are apart. The guard is the
	// only witness of a failure, and one that lies must not wear the set out
	// faster than its lives end; the others do meanwhile.
	vanguardGap = 24 * time.Hour
)

// vanguard is one second-layer guard. The first three fields are stored.
type vanguard struct {
	id             identity.NodeID
	added, expires time.Time

	failures int       // in a row
	since    time.Time // the first of them
}

// vanguardSet is the kept set of middles for receiving. Its owner locks.
type vanguardSet struct {
	list     []*vanguard
	gaveUpAt time.Time // when one was last replaced for its failures
}

// refresh drops vanguards that expired or left the directory, and draws others.
// They conflict neither with one another nor, if there are enough nodes, with
// the primary guards. It reports whether the set changed.
func (s *vanguardSet) refresh(rand io.Reader, now time.Time, d *directory.Directory, primary []directory.Node) (bool, error) {
	before := len(s.list)
	s.list = slices.DeleteFunc(s.list, func(v *vanguard) bool {
		_, listed := d.Node(v.id)
		return !listed || !now.Before(v.expires)
	})
	changed := len(s.list) != before
	for _, apart := range [][]directory.Node{primary, nil} {
		for len(s.list) < vanguardCount {
			candidates := s.candidates(d, apart)
			if len(candidates) == 0 {
				break
			}
			if err := s.draw(rand, now, candidates); err != nil {
				return changed, err
			}
			changed = true
		}
	}
	return changed, nil
}

// candidates returns the nodes that conflict with no vanguard and none of apart.
func (s *vanguardSet) candidates(d *directory.Directory, apart []directory.Node) []directory.Node {
	taken := slices.Clone(apart)
	for _, v := range s.list {
		if n, ok := d.Node(v.id); ok {
			taken = append(taken, n)
		}
	}
	return slices.DeleteFunc(d.Nodes(), func(n directory.Node) bool {
		return slices.ContainsFunc(taken, func(o directory.Node) bool { return directory.Conflict(n, o) })
	})
}

// draw adds one of candidates, with a life of its own.
func (s *vanguardSet) draw(rand io.Reader, now time.Time, candidates []directory.Node) error {
	i, err := randomBelow(rand, uint64(len(candidates)))
	if err != nil {
		return err
	}
	var longest uint64
	for range 2 {
		n, err := randomBelow(rand, uint64(vanguardSpread/time.Second))
		if err != nil {
			return err
		}
		longest = max(longest, n)
	}
	s.list = append(s.list, &vanguard{
		id: candidates[i].ID, added: now, expires: now.Add(vanguardMin + time.Duration(longest)*time.Second),
	})
	return nil
}

// ids returns the set, never nil.
func (s *vanguardSet) ids() []identity.NodeID {
	out := make([]identity.NodeID, 0, len(s.list))
	for _, v := range s.list {
		out = append(out, v.id)
	}
	return out
}

func (s *vanguardSet) find(id identity.NodeID) *vanguard {
	for _, v := range s.list {
		if v.id == id {
			return v
		}
	}
	return nil
}

// failed counts that a vanguard could not be reached. It reports whether it was
// given up for that.
func (s *vanguardSet) failed(id identity.NodeID, now time.Time) bool {
	v := s.find(id)
	if v == nil {
		return false
	}
	if v.failures == 0 {
		v.since = now
	}
	v.failures++
	if v.failures < vanguardFailures || now.Sub(v.since) < vanguardPatience || now.Sub(s.gaveUpAt) < vanguardGap {
		return false
	}
	s.gaveUpAt = now
	s.list = slices.DeleteFunc(s.list, func(o *vanguard) bool { return o == v })
	return true
}

// succeeded forgets a vanguard's failures.
func (s *vanguardSet) succeeded(id identity.NodeID) {
	if v := s.find(id); v != nil {
		v.failures = 0
	}
}
