package circuit

import "sotto/internal/identity"

// Path bias (spec/circuit.md §5.8): a guard that fails circuits until it likes
// one is found by the share that succeeds through it.
const (
	// builtSample, builtWarn and builtDrop judge how many circuits are finished
	// behind a guard, in percent, after so many were begun.
	builtSample = 60
	builtWarn   = 50
	builtDrop   = 30
	// servedSample, servedWarn and servedDrop judge how many of those that were
	// used served to their end. Crashed nodes cost a circuit in use, too; that
	// half of all end so is no accident.
	servedSample = 40
	servedWarn   = 70
	servedDrop   = 50
	// biasScale bounds a count, in samples: then both are halved, so that older
	// circuits count less.
	biasScale = 4
)

// share is how many of how many succeeded.
type share struct{ of, good uint16 }

// add counts one more.
func (s *share) add(good bool, sample uint16) {
	if s.of >= biasScale*sample {
		s.of /= 2
		s.good /= 2
	}
	s.of++
	if good {
		s.good++
	}
}

// spoil takes back one that was counted as a success.
func (s *share) spoil() {
	if s.good > 0 {
		s.good--
	}
}

// below reports whether less than percent succeeded, of enough to tell.
func (s share) below(percent int, sample uint16) bool {
	return s.of >= sample && int(s.good)*100 < int(s.of)*percent
}

// bias is what is counted of one guard, and stored.
type bias struct {
	built  share // circuits whose first hop stood: how many were finished
	served share // circuits that were used: how many did not die in use

	warned bool // not stored
}

// suspect reports whether too many circuits fail behind the guard.
func (b *bias) suspect() bool {
	return b.built.below(builtDrop, builtSample) || b.served.below(servedDrop, servedSample)
}

// doubtful reports whether more fail than should.
func (b *bias) doubtful() bool {
	return b.built.below(builtWarn, builtSample) || b.served.below(servedWarn, servedSample)
}

// verdict is what counting a circuit changed.
type verdict uint8

const (
	unchanged verdict = iota
	doubted           // the guard fails more than it should
	suspected         // the guard is not used any more
)

// countBuilt records what became of a circuit whose first hop stood.
func (s *guardSet) countBuilt(id identity.NodeID, good bool) verdict {
	return s.count(id, func(b *bias) { b.built.add(good, builtSample) })
}

// unbuilt records that a circuit which was counted as finished died before it
// was used.
func (s *guardSet) unbuilt(id identity.NodeID) verdict {
	return s.count(id, func(b *bias) { b.built.spoil() })
}

// countServed records what became of a circuit that was used.
func (s *guardSet) countServed(id identity.NodeID, good bool) verdict {
	return s.count(id, func(b *bias) { b.served.add(good, servedSample) })
}

func (s *guardSet) count(id identity.NodeID, add func(*bias)) verdict {
	g := s.find(id)
	if g == nil {
		return unchanged
	}
	was := g.bias.suspect()
	add(&g.bias)
	switch {
	case !was && g.bias.suspect():
		return suspected
	case g.bias.doubtful() && !g.bias.warned:
		g.bias.warned = true
		return doubted
	}
	return unchanged
}
