package swarm

import (
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// Limits of one reconcile call (spec/swarm.md §3). They bound what either side
// works and holds for it, whatever the other one says.
const (
	// reconServing is how many calls are in work at a time, from all members.
	reconServing = 2
	// reconQueries is how many ranges one call asks about.
	reconQueries = 32
	// reconParts is into how many a range is cut that differs.
	reconParts = 16
	// reconIDs bounds the short ids of one query, and the names of one answer.
	reconIDs = 1024
	// reconBytes ends a reply: what is left out is asked for again.
	reconBytes = 64 << 10
)

// A query asks about [lo, hi): whether the other's names have the same
// fingerprint, or which of them are not among the short ids.
const (
	queryCompare uint8 = 1
	queryList    uint8 = 2
)

type query struct {
	mode        uint8
	lo, hi      store.Bound
	fingerprint [store.FingerprintSize]byte
	ids         [][store.ShortIDSize]byte
}

// reconcileCall asks about ranges of one section (spec/swarm.md §4.3).
type reconcileCall struct {
	section uint16
	salt    [8]byte
	queries []query
}

func (c reconcileCall) encode() []byte {
	b := wire.AppendUint16(nil, c.section)
	b = append(append(b, c.salt[:]...), byte(len(c.queries)))
	for _, q := range c.queries {
		b = wire.AppendVec8(append(b, q.mode), []byte(q.lo))
		b = wire.AppendVec8(b, []byte(q.hi))
		if q.mode == queryCompare {
			b = append(b, q.fingerprint[:]...)
			continue
		}
		b = wire.AppendUint16(b, uint16(len(q.ids)))
		for _, id := range q.ids {
			b = append(b, id[:]...)
		}
	}
	return b
}

func parseReconcileCall(b []byte) (c reconcileCall, err error) {
	r := wire.NewReader(b)
	c.section = r.Uint16()
	r.Fixed(c.salt[:])
	n := int(r.Uint8())
	if n > reconQueries {
		return reconcileCall{}, protocol("reconcile call", wire.ErrTooLong)
	}
	for range n {
		q, err := readQuery(r)
		if err != nil {
			return reconcileCall{}, protocol("reconcile call", err)
		}
		c.queries = append(c.queries, q)
	}
	return c, protocol("reconcile call", r.Finish())
}

func readQuery(r *wire.Reader) (q query, err error) {
	q.mode, q.lo, q.hi = r.Uint8(), readBound(r), readBound(r)
	switch {
	case r.Err() != nil:
		return q, r.Err()
	case q.mode == queryCompare:
		r.Fixed(q.fingerprint[:])
		return q, r.Err()
	case q.mode != queryList:
		return q, ErrProtocol
	}
	n := int(r.Uint16())
	if n > reconIDs {
		return q, wire.ErrTooLong
	}
	for range n {
		var id [store.ShortIDSize]byte
		r.Fixed(id[:])
		if r.Err() != nil {
			break
		}
		q.ids = append(q.ids, id)
	}
	return q, r.Err()
}

func readBound(r *wire.Reader) store.Bound { return store.Bound(r.Vec8(store.NameSize)) }

// An answer says that a range is the same, or cuts it into parts, or lists names
// of it up to a bound.
const (
	answerSame  uint8 = 0
	answerParts uint8 = 1
	answerNames uint8 = 2
)

type answer struct {
	kind  uint8
	parts []part
	upTo  store.Bound
	names []store.Name
}

// part is a piece of a range: it ends at hi and begins where the last one ends.
type part struct {
	hi          store.Bound
	count       uint32
	fingerprint [store.FingerprintSize]byte
}

func (a answer) append(b []byte) []byte {
	b = append(b, a.kind)
	switch a.kind {
	case answerParts:
		b = append(b, byte(len(a.parts)))
		for _, p := range a.parts {
			b = wire.AppendUint32(wire.AppendVec8(b, []byte(p.hi)), p.count)
			b = append(b, p.fingerprint[:]...)
		}
	case answerNames:
		b = wire.AppendUint16(wire.AppendVec8(b, []byte(a.upTo)), uint16(len(a.names)))
		for _, n := range a.names {
			b = n.Append(b)
		}
	}
	return b
}

func encodeAnswers(answers []answer) []byte {
	b := []byte{byte(len(answers))}
	for _, a := range answers {
		b = a.append(b)
	}
	return b
}

func parseAnswers(b []byte) ([]answer, error) {
	r := wire.NewReader(b)
	n := int(r.Uint8())
	if n > reconQueries {
		return nil, protocol("answers", wire.ErrTooLong)
	}
	var out []answer
	for range n {
		a, err := readAnswer(r)
		if err != nil {
			return nil, protocol("answers", err)
		}
		out = append(out, a)
	}
	return out, protocol("answers", r.Finish())
}

func readAnswer(r *wire.Reader) (a answer, err error) {
	a.kind = r.Uint8()
	switch a.kind {
	case answerSame:
	case answerParts:
		n := int(r.Uint8())
		if n > reconParts {
			return a, wire.ErrTooLong
		}
		for range n {
			p := part{hi: readBound(r), count: r.Uint32()}
			r.Fixed(p.fingerprint[:])
			a.parts = append(a.parts, p)
		}
	case answerNames:
		a.upTo = readBound(r)
		n := int(r.Uint16())
		if n > reconIDs {
			return a, wire.ErrTooLong
		}
		for range n {
			a.names = append(a.names, store.ReadName(r))
			if r.Err() != nil {
				break
			}
		}
	default:
		return a, ErrProtocol
	}
	return a, r.Err()
}

// checkParts verifies that parts go forward through [lo, hi) to its end.
func checkParts(parts []part, lo, hi store.Bound) error {
	for _, p := range parts {
		if p.hi <= lo || p.hi > hi {
			return protocol("parts out of order", ErrProtocol)
		}
		lo = p.hi
	}
	if lo != hi {
		return protocol("parts that end early", ErrProtocol)
	}
	return nil
}

// checkNames verifies that names go forward through [lo, upTo), and that upTo
// goes forward itself.
func checkNames(a answer, lo, hi store.Bound) error {
	if a.upTo <= lo || a.upTo > hi {
		return protocol("names that end elsewhere", ErrProtocol)
	}
	for _, n := range a.names {
		at := store.Bound(n.Append(nil))
		if at < lo || at >= a.upTo {
			return protocol("names out of order", ErrProtocol)
		}
		lo = at + "\x00" // behind it
	}
	return nil
}
