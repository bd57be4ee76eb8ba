package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// deletionPoll is how often Purge looks whether the engine, which removes files
// in the background, is done; its events usually come first.
const deletionPoll = 20 * time.Millisecond

// Purge makes what was deleted disappear from the files: it flushes the
// memtables with their logs, rewrites the files in which deleted rows lie, and
// waits until the old files are removed (spec/swarm.md §5.8). Without deletions
// since the last one it does nothing. One that fails is made good by the next.
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
	logs, err := s.logs()
	if err != nil {
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
	if err := s.awaitRemoval(ctx, logs); err != nil {
		return err
	}
	return s.clean(ctx, dirty)
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

// logs lists the engine's logs. A flush begins a new one, and ends the use of
// all that there were before it.
func (s *Store) logs() ([]string, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("store: list files: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, logExt) }), nil
}

// awaitRemoval waits until the engine has removed the tables that it no longer
// uses, and these logs. Its figures leave out logs that are about to be removed,
// so these are looked for.
func (s *Store) awaitRemoval(ctx context.Context, logs []string) error {
	for {
		if err := s.fs.err(); err != nil {
			return stopped(err)
		}
		if err := s.fs.removeAgain(); err != nil {
			return fmt.Errorf("store: remove old files: %w", err)
		}
		m := s.db.Metrics()
		var err error
		if logs, err = s.present(logs); err != nil {
			return err
		}
		if m.Table.ObsoleteCount+m.Table.ZombieCount == 0 && len(logs) == 0 {
			return s.fs.removeAgain() // one may have failed just now
		}
		timer := time.NewTimer(deletionPoll)
		select {
		case <-s.purged:
		case <-timer.C:
		case <-s.fs.frozen:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// present returns those of the files that are there.
func (s *Store) present(names []string) (out []string, err error) {
	for _, name := range names {
		_, err := s.fs.Stat(s.fs.PathJoin(s.dir, name))
		switch {
		case err == nil:
			out = append(out, name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("store: look for an old file: %w", err)
		}
	}
	return out, nil
}
