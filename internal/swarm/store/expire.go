package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// ExpireBefore takes away all records that expired at now or before, and says
// how many envelopes that were. Their bytes leave the files with Purge.
func (s *Store) ExpireBefore(ctx context.Context, now uint64) (int, error) {
	total := 0
	for _, step := range []func(*tx, uint64) (rows, envelopes int, err error){(*tx).expire, (*tx).expireMarkers, (*tx).expireHints} {
		for more := true; more; {
			var rows, envelopes int
			err := s.do(ctx, &op{bytes: groupMaxBytes, run: func(t *tx) (err error) {
				rows, envelopes, err = step(t, now)
				return err
			}})
			total += envelopes
			if err != nil {
				return total, err
			}
			more = rows == expireChunk
		}
	}
	return total, nil
}

// due returns the first keys of a table whose keys begin with an expiry, of
// those at now or before.
func (t *tx) due(table byte, now uint64) ([][]byte, error) {
	to := []byte{table + 1}
	if now != noExpiry {
		to = binary.BigEndian.AppendUint64([]byte{table}, now+1)
	}
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: to})
	if err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	var keys [][]byte
	for ok := it.First(); ok && len(keys) < expireChunk; ok = it.Next() {
		keys = append(keys, append([]byte(nil), it.Key()...))
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	return keys, nil
}

func (t *tx) expire(now uint64) (rows, envelopes int, err error) {
	keys, err := t.due(tabRecord, now)
	if err != nil {
		return 0, 0, err
	}
	for _, k := range keys {
		n, err := parseKeyRecord(k)
		if err != nil {
			return 0, 0, err
		}
		if t.expireOne(n) {
			envelopes++
		}
		t.del(k) // whatever was found: expiry ends
	}
	return len(keys), envelopes, t.err
}

func (t *tx) expireOne(n Name) (envelope bool) {
	switch n.Kind {
	case KindEnvelope:
		if row, err := t.digest(n.Address, n.Ref); err == nil && row.seq != 0 {
			t.remove(n.Address, row.seq)
			return true
		}
	case KindGrant:
		if v, err := t.get(keyGrant(n.Address, n.Ref)); err == nil {
			t.expireGrant(n, v)
			return false
		}
	case KindTombstone:
		if v, err := t.get(keyTombstone(n.Address, n.Ref)); err == nil {
			t.expireTombstone(n, v)
			return false
		}
	}
	t.forget(n) // a name without a record
	return false
}

// expireMarkers takes away markers that outlived their tombstones.
func (t *tx) expireMarkers(now uint64) (rows, envelopes int, err error) {
	keys, err := t.due(tabMarker, now)
	if err != nil {
		return 0, 0, err
	}
	for _, k := range keys {
		expiry, a, d, err := parseKeyMarker(k)
		if err != nil {
			return 0, 0, err
		}
		t.unmark(a, d, expiry)
		t.del(k)
		t.mark(expiry)
	}
	return len(keys), 0, t.err
}

// unmark takes a marker away, unless it is to last longer.
func (t *tx) unmark(a Address, d Digest, until uint64) {
	if row, err := t.digest(a, d); err == nil && row.seq == 0 && row.expiry <= until {
		t.del(keyDigest(a, d))
	}
}

func (t *tx) expireGrant(n Name, row []byte) {
	if _, err := parseGrantRow(row); err != nil {
		t.fail(err)
		return
	}
	t.del(keyGrant(n.Address, n.Ref))
	t.forget(n)
	t.mark(n.Expiry)
	m, err := t.mailbox(n.Address)
	if err != nil {
		return
	}
	if m.granted, m.expiry = t.largest(n.Address); m.granted == 0 {
		t.del(keyMailbox(n.Address)) // its last grant: no envelope outlives it
		return
	}
	t.set(keyMailbox(n.Address), m.encode())
}

// largest looks through the grants that a mailbox has left.
func (t *tx) largest(a Address) (bytes, expiry uint64) {
	prefix := keyGrant(a, Ref{})[:33]
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper(prefix)})
	if err != nil {
		t.fail(err)
		return 0, 0
	}
	for ok := it.First(); ok; ok = it.Next() {
		g, err := parseGrantRow(it.Value())
		t.fail(err)
		bytes, expiry = max(bytes, g.bytes), max(expiry, g.expiry)
	}
	t.fail(errors.Join(it.Error(), it.Close()))
	return bytes, expiry
}

func (t *tx) expireTombstone(n Name, v []byte) {
	row, err := parseTombstoneRow(v)
	if err != nil {
		t.fail(err)
		return
	}
	for _, d := range row.digests {
		t.unmark(n.Address, d, n.Expiry)
	}
	t.del(keyTombstone(n.Address, n.Ref))
	t.forget(n)
	t.mark(n.Expiry)
	if m, err := t.mailbox(n.Address); err == nil {
		m.used -= min(m.used, tombstoneCost(len(row.digests), len(row.proof)))
		t.set(keyMailbox(n.Address), m.encode())
	}
}
