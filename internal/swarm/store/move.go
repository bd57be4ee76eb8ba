package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// Reference names a record within its mailbox.
type Reference struct {
	Kind Kind
	Ref  Ref
}

// References lists what a mailbox has behind a reference, in the order of kinds
// and references, at most limit, and whether there is more. A mailbox that is
// not here has nothing.
func (s *Store) References(a Address, after Reference, limit int) (refs []Reference, more bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	for _, t := range []struct {
		kind  Kind
		table byte
	}{{KindGrant, tabGrant}, {KindEnvelope, tabDigest}, {KindTombstone, tabTombstone}} {
		from := key2(t.table, a, Ref{})
		switch {
		case t.kind < after.Kind:
			continue
		case t.kind == after.Kind:
			from = append(key2(t.table, a, after.Ref), 0)
		}
		err := s.visit(from, upper(from[:33]), func(key, value []byte) (bool, error) {
			if t.kind == KindEnvelope {
				if row, err := parseDigestRow(value); err != nil || row.seq == 0 {
					return true, err
				}
			}
			if len(refs) == limit {
				more = true
				return false, nil
			}
			refs = append(refs, Reference{t.kind, Ref(key[33:])})
			return true, nil
		})
		if err != nil || more {
			return refs, more, err
		}
	}
	return refs, false, nil
}

// visit shows rows to f until it says no.
func (s *Store) visit(from, to []byte, f func(key, value []byte) (bool, error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("store: iterate: %w", err)
	}
	for ok := it.First(); ok && err == nil; {
		var on bool
		if on, err = f(it.Key(), it.Value()); on {
			ok = it.Next()
		} else {
			break
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Load is how much of something there is.
type Load struct {
	Mailboxes uint64
	Bytes     uint64 // as their quotas count them
}

// Loads returns how much there is of each section, without those that are empty.
func (s *Store) Loads(section func(Address) uint16) (map[uint16]Load, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	out := make(map[uint16]Load)
	err := s.visit([]byte{tabMailbox}, []byte{tabMailbox + 1}, func(key, value []byte) (bool, error) {
		m, err := parseMailboxRow(value)
		if err != nil || len(key) != 33 {
			return false, ErrCorrupt
		}
		l := out[section(Address(key[1:]))]
		l.Mailboxes++
		l.Bytes += m.used
		out[section(Address(key[1:]))] = l
		return true, nil
	})
	return out, err
}

// Drop takes away all records of the addresses that gone names, as if they had
// expired, and says how many envelopes that were. Their bytes leave the files
// with the next Purge. It asks gone again, in order with all other changes, when
// it takes a record away. What a crash or the end of ctx leaves, another Drop takes.
func (s *Store) Drop(ctx context.Context, gone func(Address) bool) (int, error) {
	total, from := 0, []byte{tabRecord}
	for from != nil {
		keys, next, err := s.dropped(from, gone)
		if err != nil {
			return total, err
		}
		envelopes := 0
		err = s.do(ctx, &op{bytes: groupMaxBytes, run: func(t *tx) error {
			for _, k := range keys {
				n, err := parseKeyRecord(k)
				if err != nil {
					return err
				}
				if gone(n.Address) && t.expireOne(n) {
					envelopes++
				}
			}
			return nil
		}})
		total += envelopes
		if err != nil {
			return total, err
		}
		from = next
	}
	return total, nil
}

// dropped returns the first keys of records that gone names, and where to look
// on, or nil.
func (s *Store) dropped(from []byte, gone func(Address) bool) (keys [][]byte, next []byte, err error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	err = s.visit(from, []byte{tabRecord + 1}, func(key, _ []byte) (bool, error) {
		n, err := parseKeyRecord(key)
		if err != nil || !gone(n.Address) {
			return err == nil, err
		}
		if len(keys) == expireChunk {
			next = append([]byte(nil), key...)
			return false, nil
		}
		keys = append(keys, append([]byte(nil), key...))
		return true, nil
	})
	return keys, next, err
}

// Mark is a line of the state of moves (spec/swarm.md §5.10): a fact about a
// node or a swarm that holds under one directory.
type Mark struct {
	Fact   uint8
	Of     [32]byte
	Serial uint64
	Time   uint64
}

// FactSalvaged is the fact of the mark that a repair leaves, and the opening of
// a store that is not the one which was here last: it lost something, found at
// its time, and nobody has seen yet that it came back.
const FactSalvaged uint8 = 6

func keyMark(fact uint8, of [32]byte) []byte { return append([]byte{tabMove, fact}, of[:]...) }

// Marks returns all marks.
func (s *Store) Marks() ([]Mark, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var out []Mark
	err := s.visit([]byte{tabMove}, []byte{tabMove + 1}, func(key, value []byte) (bool, error) {
		r := wire.NewReader(append(append([]byte(nil), key[1:]...), value...))
		m := Mark{Fact: r.Uint8()}
		r.Fixed(m.Of[:])
		m.Serial, m.Time = r.Uint64(), r.Uint64()
		out = append(out, m)
		return true, corrupt(r.Finish())
	})
	if s.readOnly && s.lacks { // that could not be written
		out = append(out, Mark{Fact: FactSalvaged})
	}
	return out, err
}

// SetMark writes a mark, and takes away first those in place of it, if they are
// still as given: what was written since stays. It returns once that is on disk.
func (s *Store) SetMark(ctx context.Context, m Mark, instead ...Mark) error {
	return s.setMark(ctx, m, instead, func() error { return nil })
}

// SetMarkSince is SetMark for what was found when the store had so many losses
// (Losses). After another one it returns ErrAway, and changes nothing.
func (s *Store) SetMarkSince(ctx context.Context, losses uint64, m Mark, instead ...Mark) error {
	return s.setMark(ctx, m, instead, func() error {
		if s.Losses() != losses {
			return ErrAway
		}
		return nil
	})
}

func (s *Store) setMark(ctx context.Context, m Mark, instead []Mark, may func() error) error {
	return s.do(ctx, &op{run: func(t *tx) error {
		if err := may(); err != nil {
			return err
		}
		for _, old := range instead {
			row, err := t.get(keyMark(old.Fact, old.Of))
			switch {
			case errors.Is(err, ErrNotFound):
			case err != nil:
				return err
			case string(row) == string(old.value()):
				t.del(keyMark(old.Fact, old.Of))
			}
		}
		t.set(keyMark(m.Fact, m.Of), m.value())
		return nil
	}})
}

func (m Mark) value() []byte { return wire.AppendUint64(wire.AppendUint64(nil, m.Serial), m.Time) }
