package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// MaxHints bounds the hints for one node, about 2 MB on disk. Beyond it
// reconciliation does the work.
const MaxHints = 1 << 14

// Node is a member's ID.
type Node = [32]byte

// Hint says that a node was passed over when a record was written.
type Hint struct {
	Node Node
	Name Name
}

func keyHint(node Node, kind Kind, a Address, ref Ref) []byte {
	k := append(make([]byte, 0, 1+32+1+32+32), tabHint)
	k = append(append(k, node[:]...), byte(kind))
	return append(append(k, a[:]...), ref[:]...)
}

func parseHint(k, v []byte) (h Hint, err error) {
	r := wire.NewReader(k)
	r.Uint8()
	r.Fixed(h.Node[:])
	h.Name.Kind = Kind(r.Uint8())
	r.Fixed(h.Name.Address[:])
	r.Fixed(h.Name.Ref[:])
	e := wire.NewReader(v)
	h.Name.Expiry = e.Uint64()
	return h, corrupt(errors.Join(r.Finish(), e.Finish()))
}

func (h Hint) key() []byte { return keyHint(h.Node, h.Name.Kind, h.Name.Address, h.Name.Ref) }

// AddHints records hints, beside what else is being written. Those over a
// node's bound, and those of envelopes that are deleted, are left out.
func (s *Store) AddHints(ctx context.Context, hints []Hint) error {
	return s.do(ctx, &op{byKey: true, run: func(t *tx) error {
		for _, h := range hints {
			if err := t.hint(h); err != nil {
				return err
			}
		}
		return t.err
	}})
}

func (t *tx) hint(h Hint) error {
	if t.s.hinted[h.Node] >= MaxHints {
		return nil
	}
	if h.Name.Kind == KindEnvelope {
		if row, err := t.digest(h.Name.Address, h.Name.Ref); err == nil && row.seq == 0 {
			return nil
		}
	}
	if _, err := t.get(h.key()); !errors.Is(err, ErrNotFound) {
		return err
	}
	t.set(h.key(), wire.AppendUint64(nil, h.Name.Expiry))
	t.s.hinted[h.Node]++
	return nil
}

// DropHints forgets hints that were delivered, or that nothing is left of.
func (s *Store) DropHints(ctx context.Context, hints []Hint) error {
	return s.do(ctx, &op{byKey: true, run: func(t *tx) error {
		for _, h := range hints {
			t.unhint(h)
		}
		return t.err
	}})
}

func (t *tx) unhint(h Hint) {
	if _, err := t.get(h.key()); err != nil {
		return
	}
	t.del(h.key())
	t.mark(h.Name.Expiry)
	t.s.hinted[h.Node]--
}

// unhintAll forgets what any node was to be told of a record.
func (t *tx) unhintAll(n Name) {
	for node, count := range t.s.hinted {
		if count > 0 {
			t.unhint(Hint{node, n})
		}
	}
}

// Hints returns up to limit hints for a node: grants, then envelopes, then
// tombstones.
func (s *Store) Hints(node Node, limit int) ([]Hint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix := append([]byte{tabHint}, node[:]...)
	return hints(s.db, prefix, func(h Hint, n int) (take, more bool) { return true, n+1 < limit })
}

// hints reads hints behind a prefix: visit says whether to take one, of which n
// were taken, and whether to go on.
func hints(r pebble.Reader, prefix []byte, visit func(h Hint, n int) (take, more bool)) (out []Hint, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper(prefix)})
	if err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		h, parse := parseHint(it.Key(), it.Value())
		if err = parse; err != nil {
			break
		}
		take, more := visit(h, len(out))
		if take {
			out = append(out, h)
		}
		if !more {
			break
		}
	}
	return out, errors.Join(err, it.Error(), it.Close())
}

// countHints finds how many hints there are for each node, when the engine is
// opened. The writer keeps the counts from then on.
func (s *Store) countHints() error {
	s.hinted = make(map[Node]int)
	_, err := hints(s.db, []byte{tabHint}, func(h Hint, _ int) (take, more bool) {
		s.hinted[h.Node]++
		return false, true
	})
	return err
}

// expireHints forgets hints whose record has expired: it may never have been
// here, so that its own expiry did not.
func (t *tx) expireHints(now uint64) (rows, envelopes int, err error) {
	total := 0
	for _, count := range t.s.hinted {
		total += count
	}
	if total == 0 {
		return 0, 0, nil
	}
	due, err := hints(t.b, []byte{tabHint}, func(h Hint, n int) (take, more bool) {
		return h.Name.Expiry <= now, n < expireChunk-1
	})
	for _, h := range due {
		t.unhint(h)
	}
	return len(due), 0, errors.Join(err, t.err)
}
