package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// op is one change, run by the writer inside a batch. run makes all its checks
// before its first write: an error it returns refuses this operation alone.
type op struct {
	run   func(*tx) error
	bytes int
	done  func(error) // must not block
	// byKey says that run reads rows by their keys only. A batch of such
	// operations needs no index of its own.
	byKey bool
}

// tx is the batch that a group of operations shares. A failure of the engine
// sticks, and fails the whole group.
type tx struct {
	s   *Store
	b   *pebble.Batch
	st  state
	err error
	// rows are those that a batch without index holds; nil is a deleted one.
	rows map[string][]byte

	// tight is whether the disk is low, once asked: one look serves a group.
	asked, tight bool

	changes []change // of the replicated set, for its summaries
}

func (t *tx) low() bool {
	if !t.asked {
		t.asked, t.tight = true, t.s.low()
	}
	return t.tight
}

// write is the writer's goroutine, owned by Store and ended by Close. What is
// sent to between sees a database and summaries that say the same. While
// one group is on its way to the disk the next one gathers (group commit).
func (s *Store) write() {
	defer close(s.done)
	for {
		select {
		case o := <-s.ops:
			s.commit(s.gather(o))
		case f := <-s.between:
			f()
		case <-s.stop:
			s.drain()
			return
		}
	}
}

// gather takes what waits for the next batch. Before it begins, there is a pause
// of some times what the last one took: an fsync costs the same for many
// operations as for one, and a store that is in use should not spend its time
// on them. After a longer pause nothing waits.
func (s *Store) gather(first *op) []*op {
	group, bytes := []*op{first}, first.bytes
	pace := min(groupPause*s.took, groupPauseMax) - time.Since(s.ended)
	waited := make(<-chan time.Time)
	if pace > 0 {
		t := time.NewTimer(pace)
		defer t.Stop()
		waited = t.C
	}
	for len(group) < groupMaxOps && bytes < groupMaxBytes && (pace > 0 || len(s.ops) > 0) {
		select {
		case o := <-s.ops:
			group = append(group, o)
			bytes += o.bytes
		case <-waited:
			pace = 0
		}
	}
	return group
}

// drain answers what was queued when the store closed.
func (s *Store) drain() {
	for {
		select {
		case o := <-s.ops:
			o.done(ErrClosed)
		default:
			return
		}
	}
}

// commit runs a group in one batch, syncs it, and answers its operations.
func (s *Store) commit(group []*op) {
	began := time.Now()
	results := make([]error, len(group))
	t := s.begin(group)
	defer t.b.Close()
	for i, o := range group {
		if results[i] = o.run(t); t.err != nil {
			break
		}
	}
	err := t.finish()
	s.ended = time.Now()
	s.took = s.ended.Sub(began)
	if err == nil {
		s.state = t.st
		s.publish()
		s.summaries.apply(t.changes)
	}
	for i, o := range group {
		if err != nil {
			results[i] = err
		}
		o.done(results[i])
	}
}

// begin opens the batch of a group.
func (s *Store) begin(group []*op) *tx {
	if slices.ContainsFunc(group, func(o *op) bool { return !o.byKey }) {
		return s.newTx()
	}
	return &tx{s: s, b: s.db.NewBatch(), st: s.state, rows: make(map[string][]byte)}
}

// newTx opens a batch that reads all of its own changes.
func (s *Store) newTx() *tx { return &tx{s: s, b: s.db.NewIndexedBatch(), st: s.state} }

func (t *tx) finish() error {
	if t.err == nil && !t.b.Empty() {
		t.set(keyState, t.st.encode())
	}
	if t.err == nil && !t.b.Empty() {
		t.fail(t.b.Commit(pebble.Sync))
	}
	if err := t.s.fs.err(); err != nil {
		return stopped(err)
	}
	return t.err
}

// stopped is what callers are told once a write has failed with cause.
func stopped(cause error) error {
	if isFull(cause) {
		return fmt.Errorf("%w: %w", ErrFull, cause)
	}
	return fmt.Errorf("%w: %w", ErrFailed, cause)
}

func (t *tx) fail(err error) {
	if t.err == nil && err != nil {
		t.s.noteDamage(t.s.fs, err)
		t.err = fmt.Errorf("store: engine: %w", err)
	}
}

// get returns a copy of a row, or ErrNotFound.
func (t *tx) get(key []byte) ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	v, err := t.read(key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.fail(err)
	}
	return v, err
}

func (t *tx) read(key []byte) ([]byte, error) {
	if t.rows == nil {
		return getCopy(t.b, key)
	}
	if v, ok := t.rows[string(key)]; ok {
		if v == nil {
			return nil, ErrNotFound
		}
		return v, nil
	}
	return getCopy(t.s.db, key)
}

// set keeps value, which must not be changed afterwards.
func (t *tx) set(key, value []byte) {
	t.fail(t.b.Set(key, value, nil))
	if t.rows != nil {
		if value == nil {
			value = []byte{}
		}
		t.rows[string(key)] = value
	}
}

func (t *tx) del(key []byte) {
	t.fail(t.b.Delete(key, nil))
	if t.rows != nil {
		t.rows[string(key)] = nil
	}
}

// record adds a name to the replicated set, and forget takes it out. Each is
// called once for a name that is not, or is, in the set.
func (t *tx) record(n Name) {
	t.set(n.key(), nil)
	t.changes = append(t.changes, change{name: n})
}

func (t *tx) forget(n Name) {
	t.del(n.key())
	t.changes = append(t.changes, change{name: n, gone: true})
}

func (t *tx) mailbox(a Address) (mailboxRow, error) {
	v, err := t.get(keyMailbox(a))
	if err != nil {
		return mailboxRow{}, err
	}
	m, err := parseMailboxRow(v)
	t.fail(err)
	return m, err
}

func (t *tx) digest(a Address, d Digest) (digestRow, error) {
	v, err := t.get(keyDigest(a, d))
	if err != nil {
		return digestRow{}, err
	}
	row, err := parseDigestRow(v)
	t.fail(err)
	return row, err
}

func (t *tx) index(a Address, seq uint64) (indexRow, error) {
	v, err := t.get(keyIndex(a, seq))
	if err != nil {
		return indexRow{}, err
	}
	x, err := parseIndexRow(v)
	t.fail(err)
	return x, err
}

// getCopy reads one row from a batch or the database.
func getCopy(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("store: read: %w", err)
	}
	out := append([]byte(nil), v...)
	return out, closer.Close()
}
