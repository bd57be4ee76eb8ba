package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// deletionPoll is how often Purge looks whether the engine, which removes files
// in the background, is done; its events usually come first.
const deletionPoll = 20 * time.Millisecond

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

// Purge makes what was deleted disappear from the files: it flushes the
// memtables with their logs, rewrites the files in which deleted rows lie, and
// waits until the old files are removed (spec/swarm.md §4.4). Without
// deletions since the last one it does nothing.
func (s *Store) Purge(ctx context.Context) error {
	s.purge.Lock()
	defer s.purge.Unlock()
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if s.readOnly {
		return ErrFull
	}
	dirty, err := s.dirty()
	if err != nil || len(dirty) == 0 {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("store: flush: %w", err)
	}
	for _, r := range ranges(dirty) {
		if err := s.db.Compact(ctx, r.from, r.to, false); err != nil {
			return fmt.Errorf("store: compact: %w", err)
		}
	}
	if err := s.clean(ctx, dirty); err != nil {
		return err
	}
	return s.awaitRemoval(ctx)
}

// mark notes that rows of a bucket were deleted. The count in the row tells a
// mark that a purge has seen from one made while it ran.
func (t *tx) mark(expiry uint64) {
	t.s.marks++
	t.set(keyDirty(bucketOf(expiry)), wire.AppendUint64(nil, t.s.marks))
}

type dirtyBucket struct {
	bucket uint32
	mark   uint64
}

func (s *Store) dirty() ([]dirtyBucket, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tabDirty}, UpperBound: []byte{tabDirty + 1}})
	if err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	defer it.Close()
	var out []dirtyBucket
	for ok := it.First(); ok; ok = it.Next() {
		out = append(out, dirtyBucket{wire.NewReader(it.Key()[1:]).Uint32(), wire.NewReader(it.Value()).Uint64()})
	}
	return out, it.Error()
}

// clean forgets the marks that the purge has seen to.
func (s *Store) clean(ctx context.Context, dirty []dirtyBucket) error {
	done := make(chan error, 1)
	o := &op{done: func(err error) { done <- err }, run: func(t *tx) error {
		for _, d := range dirty {
			v, err := t.get(keyDirty(d.bucket))
			if err == nil && wire.NewReader(v).Uint64() == d.mark {
				t.del(keyDirty(d.bucket))
			}
		}
		return nil
	}}
	select {
	case s.ops <- o:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

type keyRange struct{ from, to []byte }

// ranges are the tables of small rows, each as a whole, and the dirty buckets
// of envelopes, neighbours together.
func ranges(dirty []dirtyBucket) []keyRange {
	var out []keyRange
	for _, table := range []byte{tabDigest, tabGrant, tabHint, tabIndex, tabMailbox, tabTombstone, tabRecord, tabMarker} {
		out = append(out, keyRange{[]byte{table}, []byte{table + 1}})
	}
	for i := 0; i < len(dirty); {
		first, last := dirty[i].bucket, dirty[i].bucket
		for i++; i < len(dirty) && dirty[i].bucket == last+1; i++ {
			last++
		}
		from, to := keyDirty(first), upper(keyDirty(last))
		from[0] = tabEnvelope
		if to[0] = tabEnvelope; last == 1<<32-1 {
			to = []byte{tabEnvelope + 1}
		}
		out = append(out, keyRange{from, to})
	}
	return out
}

// awaitRemoval waits until the engine has removed all files it no longer uses.
func (s *Store) awaitRemoval(ctx context.Context) error {
	for {
		m := s.db.Metrics()
		if m.Table.ObsoleteCount+m.Table.ZombieCount == 0 && m.WAL.ObsoleteFiles == 0 {
			return nil
		}
		if err := s.fs.err(); err != nil {
			return stopped(err)
		}
		timer := time.NewTimer(deletionPoll)
		select {
		case <-s.purged:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}
