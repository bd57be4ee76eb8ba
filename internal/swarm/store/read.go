package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// Item is an envelope at its place in a mailbox.
type Item struct {
	Seq    uint64
	Digest Digest
	Expiry uint64
	Bytes  []byte
}

// Page is what Fetch found. Generation is random and the mailbox's own on this
// store; a sequence means nothing beside another one.
type Page struct {
	Generation uint64
	Items      []Item
	Next       uint64 // sequence to go on from
	More       bool   // there is more behind Next
}

// Fetch returns the envelopes of a mailbox after sequence since, if that was
// counted in generation and has been given, else all: at most items of them, and no more than
// bytes together, but always one. It returns ErrNotOpen for a mailbox that is
// not here.
func (s *Store) Fetch(a Address, generation, since uint64, items, bytes int) (_ Page, err error) {
	if err := s.enter(); err != nil {
		return Page{}, err
	}
	defer s.leave()
	defer func() { s.noteDamage(s.fs, err) }()
	m, err := s.mailbox(a)
	if err != nil {
		return Page{}, err
	}
	if generation != m.generation || since >= m.nextSeq {
		since = 0 // a place of another store, or of a life that this one knows nothing of
	}
	p := Page{Generation: m.generation, Next: since}
	return p, s.fill(&p, a, min(items, maxPageItems), min(bytes, maxPageBytes))
}

func (s *Store) fill(p *Page, a Address, items, bytes int) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: keyIndex(a, p.Next+1), UpperBound: upper(keyIndex(a, 0)[:33])})
	if err != nil {
		return fmt.Errorf("store: iterate: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		x, err := parseIndexRow(it.Value())
		if err != nil {
			return err
		}
		if bytes -= int(x.size); len(p.Items) > 0 && (len(p.Items) >= items || bytes < 0) {
			p.More = true
			return nil
		}
		seq := wire.NewReader(it.Key()[33:]).Uint64()
		_, envelope, err := s.envelope(a, seq, x)
		if errors.Is(err, ErrNotFound) { // deleted since the iterator was made
			p.Next = seq
			continue
		}
		if err != nil {
			return err
		}
		p.Items = append(p.Items, Item{Seq: seq, Digest: x.digest, Expiry: x.expiry, Bytes: envelope})
		p.Next = seq
	}
	return it.Error()
}

func (s *Store) envelope(a Address, seq uint64, x indexRow) (proof, envelope []byte, err error) {
	v, err := getCopy(s.db, keyEnvelope(x.expiry, a, seq))
	if err != nil {
		return nil, nil, err
	}
	return parseEnvelopeRow(v, a, x.digest)
}

// mailbox reads a mailbox's row, or returns ErrNotOpen.
func (s *Store) mailbox(a Address) (mailboxRow, error) {
	v, err := getCopy(s.db, keyMailbox(a))
	if errors.Is(err, ErrNotFound) {
		return mailboxRow{}, ErrNotOpen
	}
	if err != nil {
		return mailboxRow{}, err
	}
	return parseMailboxRow(v)
}

// Mailbox returns how many bytes are open at an address and until when, or
// ErrNotOpen.
func (s *Store) Mailbox(a Address) (bytes, expiry uint64, err error) {
	if err := s.enter(); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	m, err := s.mailbox(a)
	return m.granted, m.expiry, err
}

// Check says what Put would answer now, without writing: a coordinator asks it
// before it sends an envelope to others.
func (s *Store) Check(e *Envelope) (Stored, error) {
	if err := s.enter(); err != nil {
		return Stored{}, err
	}
	defer s.leave()
	v, err := getCopy(s.db, keyDigest(e.Address, e.Digest))
	if err == nil {
		row, err := parseDigestRow(v)
		return Stored{Deleted: row.seq == 0}, err
	}
	if !errors.Is(err, ErrNotFound) {
		return Stored{}, err
	}
	m, err := s.mailbox(e.Address)
	if err != nil {
		return Stored{}, err
	}
	return Stored{Fresh: true}, s.room(m, e, s.Stats().Bytes, s.readOnly || s.low())
}

// CheckDelete says what Delete would answer now to a client, but for the room,
// without writing: ErrNotOpen, or ErrTooLate for one that ends before an
// envelope that it names.
func (s *Store) CheckDelete(d *Tombstone) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if _, err := s.mailbox(d.Address); err != nil {
		return err
	}
	for _, dg := range d.Digests {
		x, _, err := s.indexed(d.Address, dg)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if x.expiry > d.Expiry {
			return ErrTooLate
		}
	}
	return nil
}

// Has reports whether a record is here; for an envelope also if it was deleted.
func (s *Store) Has(kind Kind, a Address, ref Ref) (bool, error) {
	switch kind {
	case KindGrant:
		return s.has(keyGrant(a, ref))
	case KindEnvelope:
		return s.has(keyDigest(a, ref))
	case KindTombstone:
		return s.has(keyTombstone(a, ref))
	}
	return false, fmt.Errorf("store: record of kind %d: %w", kind, ErrNotFound)
}

func (s *Store) has(key []byte) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	_, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: read: %w", err)
	}
	return true, closer.Close()
}

// Record is a stored record as another member needs it.
type Record struct {
	Kind    Kind
	Address Address
	Ref     Ref
	Expiry  uint64
	Proof   []byte
	Bytes   []byte // an envelope's
}

// Record reads one record, or returns ErrNotFound.
func (s *Store) Record(kind Kind, a Address, ref Ref) (Record, error) {
	if err := s.enter(); err != nil {
		return Record{}, err
	}
	defer s.leave()
	r := Record{Kind: kind, Address: a, Ref: ref}
	var err error
	defer func() { s.noteDamage(s.fs, err) }()
	switch kind {
	case KindGrant:
		err = s.readGrant(&r)
	case KindEnvelope:
		err = s.readEnvelope(&r)
	case KindTombstone:
		err = s.readTombstone(&r)
	default:
		err = ErrNotFound
	}
	return r, err
}

func (s *Store) readGrant(r *Record) error {
	v, err := getCopy(s.db, keyGrant(r.Address, r.Ref))
	if err != nil {
		return err
	}
	g, err := parseGrantRow(v)
	r.Expiry, r.Proof = g.expiry, g.proof
	return err
}

func (s *Store) readTombstone(r *Record) error {
	v, err := getCopy(s.db, keyTombstone(r.Address, r.Ref))
	if err != nil {
		return err
	}
	t, err := parseTombstoneRow(v)
	r.Expiry, r.Proof = t.expiry, t.proof
	return err
}

func (s *Store) readEnvelope(r *Record) error {
	x, seq, err := s.indexed(r.Address, r.Ref)
	if err != nil {
		return err
	}
	r.Expiry = x.expiry
	r.Proof, r.Bytes, err = s.envelope(r.Address, seq, x)
	return err
}

// indexed finds an envelope's place, or returns ErrNotFound.
func (s *Store) indexed(a Address, dg Digest) (x indexRow, seq uint64, err error) {
	v, err := getCopy(s.db, keyDigest(a, dg))
	if err != nil {
		return x, 0, err
	}
	d, err := parseDigestRow(v)
	if err != nil {
		return x, 0, err
	}
	if d.seq == 0 {
		return x, 0, ErrNotFound
	}
	if v, err = getCopy(s.db, keyIndex(a, d.seq)); err != nil {
		return x, 0, err
	}
	x, err = parseIndexRow(v)
	return x, d.seq, err
}

// Grants returns a mailbox's grants, for a member that has not heard of it.
func (s *Store) Grants(a Address) ([]Record, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix := keyGrant(a, Ref{})[:33]
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper(prefix)})
	if err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	defer it.Close()
	var out []Record
	for ok := it.First(); ok && len(out) < maxPageItems; ok = it.Next() {
		g, err := parseGrantRow(append([]byte(nil), it.Value()...))
		if err != nil {
			return nil, err
		}
		out = append(out, Record{Kind: KindGrant, Address: a, Ref: Ref(it.Key()[33:]), Expiry: g.expiry, Proof: g.proof})
	}
	return out, it.Error()
}
