package store

import (
	"context"
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
	for {
		var rows, envelopes int
		err := s.do(ctx, &op{bytes: groupMaxBytes, run: func(t *tx) (err error) {
			rows, envelopes, err = t.expire(now)
			return err
		}})
		total += envelopes
		if err != nil || rows < expireChunk {
			return total, err
		}
	}
}

func (t *tx) expire(now uint64) (rows, envelopes int, err error) {
	it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: []byte{tabExpiry}, UpperBound: upper(keyExpiry(now, 0, Address{}, Ref{})[:9])})
	if err != nil {
		return 0, 0, fmt.Errorf("store: iterate: %w", err)
	}
	var keys [][]byte
	for ok := it.First(); ok && len(keys) < expireChunk; ok = it.Next() {
		keys = append(keys, append([]byte(nil), it.Key()...))
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return 0, 0, fmt.Errorf("store: iterate: %w", err)
	}
	for _, k := range keys {
		expiry, kind, a, ref, err := parseKeyExpiry(k)
		if err != nil {
			return 0, 0, ErrCorrupt
		}
		if t.expireOne(expiry, kind, a, ref) {
			envelopes++
		}
		t.del(k)
	}
	return len(keys), envelopes, t.err
}

func (t *tx) expireOne(expiry uint64, kind Kind, a Address, ref Ref) (envelope bool) {
	switch kind {
	case KindEnvelope:
		if row, err := t.digest(a, ref); err == nil && row.seq != 0 {
			t.remove(a, row.seq)
			return true
		}
	case KindGrant:
		t.expireGrant(expiry, a, ref)
	case KindTombstone:
		t.expireTombstone(expiry, a, ref)
	}
	return false
}

func (t *tx) expireGrant(expiry uint64, a Address, id Ref) {
	v, err := t.get(keyGrant(a, id))
	if err != nil {
		return
	}
	g, err := parseGrantRow(v)
	if err != nil {
		t.fail(err)
		return
	}
	t.del(keyGrant(a, id))
	t.unlog(g.log, KindGrant, a, id, expiry)
	t.mark(expiry)
	m, err := t.mailbox(a)
	if err != nil {
		return
	}
	if m.granted, m.expiry = t.largest(a); m.granted == 0 {
		t.del(keyMailbox(a)) // its last grant: no envelope outlives it
		return
	}
	t.set(keyMailbox(a), m.encode())
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

func (t *tx) expireTombstone(expiry uint64, a Address, id Ref) {
	v, err := t.get(keyTombstone(a, id))
	if err != nil {
		return
	}
	row, err := parseTombstoneRow(v)
	if err != nil {
		t.fail(err)
		return
	}
	for _, d := range row.digests {
		if dr, err := t.digest(a, d); err == nil && dr.seq == 0 && dr.tombstone == id {
			t.del(keyDigest(a, d))
		}
	}
	t.del(keyTombstone(a, id))
	t.unlog(row.log, KindTombstone, a, id, expiry)
	t.mark(expiry)
	if m, err := t.mailbox(a); err == nil {
		m.used -= min(m.used, tombstoneCost(len(row.digests), len(row.proof)))
		t.set(keyMailbox(a), m.encode())
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
	o := &op{done: make(chan error, 1), run: func(t *tx) error {
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
		return <-o.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

type keyRange struct{ from, to []byte }

// ranges are the tables of small rows, each as a whole, and the dirty buckets
// of envelopes, neighbours together.
func ranges(dirty []dirtyBucket) []keyRange {
	var out []keyRange
	for _, table := range []byte{tabDigest, tabGrant, tabIndex, tabLog, tabMailbox, tabTombstone, tabExpiry} {
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
