package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Grant opens a mailbox, or makes an open one larger or last longer: of all its
// grants that have not expired the largest and the longest count.
type Grant struct {
	Address Address
	ID      Ref
	Bytes   uint64
	Expiry  uint64 // when the mailbox may disappear
	Proof   []byte
}

// Envelope is one stored message.
type Envelope struct {
	Address Address
	Digest  Digest
	Expiry  uint64
	Proof   []byte
	Bytes   []byte
	// Replica marks what another member accepted. Members that were away may
	// see puts in another order, so it may pass the quota, up to twice.
	Replica bool
}

// Tombstone deletes envelopes for good, also ones that arrive later. It is kept
// until Expiry, at every member alike; what it deleted stays deleted here until
// it would have expired itself (spec/swarm.md §5.3).
type Tombstone struct {
	Address Address
	ID      Ref
	Digests []Digest
	Expiry  uint64
	Proof   []byte
	// Replica marks what another member accepted, as in Envelope.
	Replica bool
}

// cost is what a tombstone takes of its mailbox while it lives: what it deletes
// makes room for more, and would otherwise pay for any number of tombstones.
func (d *Tombstone) cost() uint64 {
	return tombstoneCost(len(d.Digests), len(d.Proof))
}

func tombstoneCost(digests, proof int) uint64 { return uint64(digests*digestBytes + proof) }

// Stored says what a Put did.
type Stored struct {
	Fresh   bool // it was not here before
	Deleted bool // its owner has deleted it: nothing was stored
}

// OpenMailbox records a grant, and returns once it is on disk.
func (s *Store) OpenMailbox(ctx context.Context, g Grant) error {
	if len(g.Proof) > MaxProof {
		return ErrTooLarge
	}
	generation, err := s.newGeneration()
	if err != nil {
		return err
	}
	return s.do(ctx, &op{bytes: len(g.Proof), run: func(t *tx) error { return t.grant(g, generation) }})
}

func (s *Store) newGeneration() (uint64, error) {
	var seed [8]byte
	if _, err := io.ReadFull(s.rand, seed[:]); err != nil {
		return 0, fmt.Errorf("store: draw generation: %w", err)
	}
	return binary.BigEndian.Uint64(seed[:]), nil
}

func (t *tx) grant(g Grant, generation uint64) error {
	if _, err := t.get(keyGrant(g.Address, g.ID)); !errors.Is(err, ErrNotFound) {
		return err
	}
	if t.low() {
		return ErrFull
	}
	m, err := t.mailbox(g.Address)
	if errors.Is(err, ErrNotFound) {
		m = mailboxRow{generation: generation, nextSeq: 1}
	} else if err != nil {
		return err
	}
	m.granted = max(m.granted, g.Bytes)
	m.expiry = max(m.expiry, g.Expiry)
	t.set(keyMailbox(g.Address), m.encode())
	t.record(Name{g.Expiry, KindGrant, g.Address, g.ID})
	t.set(keyGrant(g.Address, g.ID), grantRow{bytes: g.Bytes, expiry: g.Expiry, proof: g.Proof}.encode())
	return nil
}

// Put stores an envelope, and returns once it is on disk. The same digest again
// changes nothing. It returns ErrNotOpen, ErrQuota, ErrTooLate or ErrFull when
// there is no room for it.
func (s *Store) Put(ctx context.Context, e *Envelope) (Stored, error) {
	if len(e.Bytes) > MaxEnvelope || len(e.Proof) > MaxProof {
		return Stored{}, ErrTooLarge
	}
	var out Stored
	err := s.do(ctx, e.op(&out))
	if err != nil {
		return Stored{}, err
	}
	return out, nil
}

// PutThen is Put for callers that don't wait: unless it returns an error, then
// is called once, by the goroutine that writes. It must not block.
func (s *Store) PutThen(ctx context.Context, e *Envelope, then func(Stored, error)) error {
	if len(e.Bytes) > MaxEnvelope || len(e.Proof) > MaxProof {
		return ErrTooLarge
	}
	var out Stored
	o := e.op(&out)
	o.done = func(err error) { then(out, err) }
	return s.queue(ctx, o)
}

func (e *Envelope) op(out *Stored) *op {
	return &op{bytes: len(e.Bytes) + len(e.Proof), byKey: true, run: func(t *tx) (err error) {
		*out, err = t.put(e)
		return err
	}}
}

func (t *tx) put(e *Envelope) (Stored, error) {
	row, err := t.digest(e.Address, e.Digest)
	if err == nil {
		return t.repeated(row, e)
	}
	if !errors.Is(err, ErrNotFound) {
		return Stored{}, err
	}
	m, err := t.mailbox(e.Address)
	if errors.Is(err, ErrNotFound) {
		return Stored{}, ErrNotOpen
	}
	if err != nil {
		return Stored{}, err
	}
	if err := t.room(m, e); err != nil {
		return Stored{}, err
	}
	size := uint64(len(e.Bytes))
	m.nextSeq = max(m.nextSeq, t.st.opened<<seqBits|1)
	x := indexRow{digest: e.Digest, expiry: e.Expiry, size: uint32(size)}
	t.record(Name{e.Expiry, KindEnvelope, e.Address, e.Digest})
	t.set(keyEnvelope(e.Expiry, e.Address, m.nextSeq), encodeEnvelopeRow(e))
	t.set(keyIndex(e.Address, m.nextSeq), x.encode())
	t.set(keyDigest(e.Address, e.Digest), digestRow{seq: m.nextSeq}.encode())
	m.nextSeq++
	m.used += size
	t.set(keyMailbox(e.Address), m.encode())
	t.st.envelopes++
	t.st.bytes += size
	return Stored{Fresh: true}, nil
}

// repeated answers for an envelope that is known already. One that a tombstone
// kept away before it was seen stays deleted as long as it may be offered.
func (t *tx) repeated(row digestRow, e *Envelope) (Stored, error) {
	if row.seq == 0 {
		if row.was != 0 && row.was != e.Expiry {
			return Stored{}, ErrConflict // as it would be if it were still here
		}
		if row.was == 0 && e.Expiry > row.expiry {
			t.refuse(e.Address, e.Digest, digestRow{expiry: row.expiry, was: e.Expiry})
		}
		return Stored{Deleted: true}, nil
	}
	x, err := t.index(e.Address, row.seq)
	if err == nil && x.expiry != e.Expiry {
		err = ErrConflict
	}
	return Stored{}, err
}

// refuse writes a marker that lasts as long as its tombstone and its envelope.
func (t *tx) refuse(a Address, d Digest, row digestRow) {
	if row.was > row.expiry {
		row.expiry = row.was
		t.set(keyMarker(row.expiry, a, d), nil) // no tombstone's end takes it away
	}
	t.set(keyDigest(a, d), row.encode())
}

func (t *tx) room(m mailboxRow, e *Envelope) error {
	return t.s.room(m, e, t.st.bytes, t.low())
}

// room reports why an envelope doesn't fit, when the store holds stored bytes
// and the disk is low or not.
func (s *Store) room(m mailboxRow, e *Envelope, stored uint64, low bool) error {
	quota, size := m.granted, uint64(len(e.Bytes))
	if e.Replica {
		quota *= replicaSlack
	}
	switch {
	case e.Expiry > m.expiry:
		return ErrTooLate
	case m.used+size > quota:
		return ErrQuota
	case stored+size > s.max, low:
		return ErrFull
	}
	return nil
}

// Delete records a tombstone and takes its envelopes away. It returns once that
// is on disk; their bytes leave the files with the next Purge. It returns
// ErrNotOpen or ErrQuota when there is no room for the tombstone, and
// ErrTooLate, unless it is a copy, when one of its envelopes expires after it.
func (s *Store) Delete(ctx context.Context, d Tombstone) error {
	if len(d.Digests) > MaxTombstoneDigests || len(d.Proof) > MaxProof {
		return ErrTooLarge
	}
	return s.do(ctx, &op{bytes: len(d.Proof), run: func(t *tx) error { return t.bury(d) }})
}

func (t *tx) bury(d Tombstone) error {
	if _, err := t.get(keyTombstone(d.Address, d.ID)); !errors.Is(err, ErrNotFound) {
		return err
	}
	m, err := t.mailbox(d.Address)
	if errors.Is(err, ErrNotFound) {
		return ErrNotOpen
	}
	if err != nil {
		return err
	}
	rows, freed, err := t.buried(&d)
	if err != nil {
		return err
	}
	if !d.fits(m, freed) {
		return ErrQuota
	}
	m.used += d.cost()
	t.set(keyMailbox(d.Address), m.encode())
	for i, dg := range d.Digests {
		if rows[i].seq != 0 {
			t.remove(d.Address, rows[i].seq)
		}
		t.refuse(d.Address, dg, digestRow{expiry: max(d.Expiry, rows[i].expiry), was: rows[i].was})
	}
	t.record(Name{d.Expiry, KindTombstone, d.Address, d.ID})
	t.set(keyTombstone(d.Address, d.ID), tombstoneRow{expiry: d.Expiry, digests: d.Digests, proof: d.Proof}.encode())
	return nil
}

// buried returns what is known of a tombstone's digests, and the size of each
// envelope that it frees.
func (t *tx) buried(d *Tombstone) (rows []digestRow, freed map[uint64]uint64, err error) {
	rows, freed = make([]digestRow, len(d.Digests)), map[uint64]uint64{}
	for i, dg := range d.Digests {
		row, err := t.digest(d.Address, dg)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if rows[i] = row; row.seq == 0 {
			continue
		}
		x, err := t.index(d.Address, row.seq)
		if err != nil {
			return nil, nil, err
		}
		if x.expiry > d.Expiry && !d.Replica {
			return nil, nil, ErrTooLate
		}
		rows[i].was = x.expiry
		freed[row.seq] = uint64(x.size)
	}
	return rows, freed, nil
}

// fits reports whether there is room for a tombstone once what it deletes is
// gone. It may pass the quota by as much again, so that a mailbox that is full
// refuses envelopes before it refuses to be emptied.
func (d *Tombstone) fits(m mailboxRow, freed map[uint64]uint64) bool {
	quota := (1 + tombstoneSlack) * m.granted
	if d.Replica {
		quota = (replicaSlack + tombstoneSlack) * m.granted
	}
	used := m.used + d.cost()
	for _, size := range freed {
		used -= min(used, size)
	}
	return used <= quota
}

// remove takes an envelope's rows away and gives its room back to the mailbox.
// A digest that is listed twice is gone the second time.
func (t *tx) remove(a Address, seq uint64) {
	x, err := t.index(a, seq)
	if err != nil {
		return // gone already; any other error sticks to t
	}
	t.del(keyEnvelope(x.expiry, a, seq))
	t.del(keyIndex(a, seq))
	t.del(keyDigest(a, x.digest))
	t.forget(Name{x.expiry, KindEnvelope, a, x.digest})
	t.unhintAll(Name{x.expiry, KindEnvelope, a, x.digest})
	t.mark(x.expiry)
	t.st.envelopes--
	t.st.bytes -= uint64(x.size)
	if m, err := t.mailbox(a); err == nil {
		m.used -= min(m.used, uint64(x.size))
		t.set(keyMailbox(a), m.encode())
	}
}
