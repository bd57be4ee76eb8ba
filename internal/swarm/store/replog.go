package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// LogEntry is one change in the replication log. Entries of records that
// expired are gone, so sequences have gaps.
type LogEntry struct {
	Seq     uint64
	Kind    Kind
	Address Address
	Ref     Ref
	Expiry  uint64
}

func (e LogEntry) encode() []byte {
	b := append(make([]byte, 0, 1+32+32+8), byte(e.Kind))
	b = append(b, e.Address[:]...)
	b = append(b, e.Ref[:]...)
	return wire.AppendUint64(b, e.Expiry)
}

// Log returns up to limit changes after since, the sequence to go on from, and
// whether there are more.
func (s *Store) Log(since uint64, limit int) (entries []LogEntry, next uint64, more bool, err error) {
	if err := s.enter(); err != nil {
		return nil, since, false, err
	}
	defer s.leave()
	if since == noExpiry {
		return nil, since, false, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: keyLog(since + 1), UpperBound: []byte{tabLog + 1}})
	if err != nil {
		return nil, since, false, fmt.Errorf("store: iterate: %w", err)
	}
	defer it.Close()
	next = since
	for ok := it.First(); ok; ok = it.Next() {
		if len(entries) >= limit {
			return entries, next, true, it.Error()
		}
		next = wire.NewReader(it.Key()[1:]).Uint64()
		e, err := parseLogEntry(it.Value())
		if err != nil {
			return entries, next, false, err
		}
		e.Seq = next
		entries = append(entries, e)
	}
	return entries, next, false, it.Error()
}

func parseLogEntry(v []byte) (e LogEntry, err error) {
	r := wire.NewReader(v)
	e.Kind = Kind(r.Uint8())
	r.Fixed(e.Address[:])
	r.Fixed(e.Ref[:])
	e.Expiry = r.Uint64()
	return e, corrupt(r.Finish())
}

// PeerCursor returns how far this member has followed another one's log.
func (s *Store) PeerCursor(node [32]byte) (incarnation, seq uint64, err error) {
	if err := s.enter(); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	v, err := getCopy(s.db, keyPeer(node))
	if errors.Is(err, ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	r := wire.NewReader(v)
	incarnation, seq = r.Uint64(), r.Uint64()
	return incarnation, seq, corrupt(r.Finish())
}

// SetPeerCursor remembers it. It is not synced by itself: a cursor lost in a
// crash costs a second look at the same entries, and it can't reach the disk
// before the records that were written earlier.
func (s *Store) SetPeerCursor(node [32]byte, incarnation, seq uint64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	v := wire.AppendUint64(wire.AppendUint64(nil, incarnation), seq)
	if err := s.db.Set(keyPeer(node), v, pebble.NoSync); err != nil {
		return fmt.Errorf("store: write: %w", err)
	}
	return nil
}
