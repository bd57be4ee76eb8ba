package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/wire"
)

// suffixNew ends the name of the folder that a store is salvaged to.
const suffixNew = ".new"

// SuffixDamaged ends the name of the folder in which a damaged store is kept
// after its repair.
const SuffixDamaged = ".damaged"

// salvageBatch is how many bytes a salvage writes at a time.
const salvageBatch = 4 << 20

// salvage copies what can be read and is whole from a damaged engine into a new
// store beside it, and puts that in its place; the old one is set aside, never
// deleted. A nil engine, one that cannot be opened, leaves an empty store. What
// is lost comes back from the other members (spec/swarm.md §5.12).
func (s *Store) salvage(old pebble.Reader) error {
	aside := s.dir + SuffixDamaged
	if _, err := s.disk.Stat(aside); err == nil {
		return fmt.Errorf("%w: an earlier damaged store still lies in %s: look at it, and remove it", ErrDamaged, s.disk.PathBase(aside))
	}
	if err := s.disk.RemoveAll(s.dir + suffixNew); err != nil {
		return fmt.Errorf("store: salvage: %w", err)
	}
	if err := s.rescueAll(old); err != nil {
		return fmt.Errorf("store: salvage: %w", err)
	}
	s.closeEngine()
	if err := s.disk.Rename(s.dir, aside); err != nil {
		return fmt.Errorf("store: salvage: %w", err)
	}
	if err := s.disk.Rename(s.dir+suffixNew, s.dir); err != nil {
		return fmt.Errorf("store: salvage: %w", err)
	}
	return syncParent(s.disk, s.dir)
}

// Repair puts what is whole of the store in dir into a new one in its place, and
// sets the old one aside. It returns ErrInUse for a store that is open.
func Repair(ctx context.Context, dir string, opts Options) error {
	s := newStore(dir, opts)
	if _, err := s.disk.Stat(dir); err != nil {
		return fmt.Errorf("store: repair: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { close(s.stop) })
	defer stop()
	db, err := s.openPebble(newFreezeFS(s.disk), true)
	if errors.Is(err, ErrDamaged) {
		return s.salvage(nil)
	}
	if err != nil {
		return err
	}
	s.db = db
	err = s.salvage(db)
	s.closeEngine() // open for reading only: nothing of it can be lost
	return err
}

// finishSalvage ends a salvage that a crash cut off between its two renamings. It
// reports a store that vanished: only the damaged one is there, and nothing that
// was saved from it.
func finishSalvage(fs vfs.FS, dir string) (vanished bool, err error) {
	if _, err := fs.Stat(dir); err == nil {
		return false, nil
	}
	if _, err := fs.Stat(dir + SuffixDamaged); err != nil {
		return false, nil // there was no salvage
	}
	if _, err := fs.Stat(dir + suffixNew); err != nil {
		return true, nil
	}
	if err := fs.Rename(dir+suffixNew, dir); err != nil {
		return false, fmt.Errorf("store: salvage: %w", err)
	}
	return false, syncParent(fs, dir)
}

func syncParent(fs vfs.FS, dir string) error {
	parent, err := fs.OpenDir(fs.PathDir(dir))
	if err != nil {
		return fmt.Errorf("store: salvage: %w", err)
	}
	if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
		return fmt.Errorf("store: salvage: %w", err)
	}
	return nil
}

// rescueAll fills the new store. Mailboxes are found by their grants, without
// which nobody could put anything into them.
func (s *Store) rescueAll(old pebble.Reader) (err error) {
	fresh := s.sibling(s.dir + suffixNew)
	if err := fresh.openFor(false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.db.Close()) }()
	r := &rescue{old: old, t: fresh.newTx()}
	defer func() { r.t.b.Close() }()
	r.t.st.opened = 0 // sequences stay as they were
	if old != nil {
		var done Address
		lo, hi := table(tabGrant)
		if _, err := scan(old, lo, hi, jumpWidth, func(k, _ []byte) error {
			if err := s.halted(); err != nil {
				return err
			}
			if len(k) != 1+64 || Address(k[1:33]) == done {
				return nil
			}
			done = Address(k[1:33])
			return r.mailbox(done)
		}); err != nil {
			return err
		}
		if v, err := getCopy(old, keyState); err == nil {
			if st, err := parseState(v); err == nil {
				r.t.st.opened = st.opened
			}
		}
	}
	if err := r.marks(); err != nil {
		return err
	}
	if err := r.commit(pebble.NoSync); err != nil {
		return err
	}
	if err := fresh.db.Set(keyState, r.t.st.encode(), pebble.Sync); err != nil {
		return err
	}
	if err := fresh.db.Flush(); err != nil {
		return err
	}
	return fresh.fs.err()
}

// rescue copies one mailbox after the other.
type rescue struct {
	old pebble.Reader
	t   *tx
}

// commit ends a batch and begins the next.
func (r *rescue) commit(sync *pebble.WriteOptions) error {
	r.t.fail(r.t.b.Commit(sync))
	if r.t.err != nil {
		return r.t.err
	}
	next := r.t.s.newTx()
	next.st = r.t.st
	r.t.b.Close()
	r.t = next
	return nil
}

// marks copies what is known of moves, and notes that something was lost.
func (r *rescue) marks() error {
	if r.old != nil {
		lo, hi := table(tabMove)
		if _, err := scan(r.old, lo, hi, jumpWidth, func(k, v []byte) error {
			r.t.set(append([]byte(nil), k...), append([]byte(nil), v...))
			return r.t.err
		}); err != nil {
			return err
		}
	}
	r.t.set(keyMark(FactSalvaged, [32]byte{}), r.t.s.now64())
	return r.t.err
}

// mailbox copies what is whole of a mailbox. One that lacks nothing keeps its
// generation and its sequences, so that cursors go on; any other gets a new
// generation, so that no cursor passes over what is yet to come back.
func (r *rescue) mailbox(a Address) error {
	generation, err := r.t.s.newGeneration()
	if err != nil {
		return err
	}
	whole := true
	for _, step := range []struct {
		table byte
		copy  func(a Address, k, v []byte) error
	}{
		{tabGrant, func(a Address, k, v []byte) error { return r.grant(a, k, v, generation) }},
		{tabIndex, r.envelope},
		{tabTombstone, r.tombstone},
		{tabDigest, r.marker},
	} {
		lo := append([]byte{step.table}, a[:]...)
		gaps, err := scanMailbox(r.old, lo, func(k, v []byte) error {
			switch err := step.copy(a, k, v); {
			case err == nil:
			case errors.Is(err, ErrFull), r.t.err != nil:
				return errors.Join(r.t.err, err)
			default:
				whole = false // it comes back from another member
			}
			if r.t.b.Len() > salvageBatch {
				return r.commit(pebble.NoSync)
			}
			return nil
		})
		if err := errors.Join(err, r.t.err); err != nil {
			return err
		}
		whole = whole && gaps == 0
	}
	return r.settle(a, whole)
}

// settle gives a mailbox that lacks nothing its old generation.
func (r *rescue) settle(a Address, whole bool) error {
	m, err := r.t.mailbox(a)
	if errors.Is(err, ErrNotFound) {
		return nil // all its grants are damaged
	}
	if err != nil {
		return err
	}
	v, err := getCopy(r.old, keyMailbox(a))
	if err != nil {
		return nil
	}
	if old, err := parseMailboxRow(v); err == nil && whole && old.used == m.used {
		m.generation, m.nextSeq = old.generation, max(old.nextSeq, m.nextSeq)
		r.t.set(keyMailbox(a), m.encode())
	}
	return r.t.err
}

func (r *rescue) grant(a Address, k, v []byte, generation uint64) error {
	g, err := parseGrantRow(append([]byte(nil), v...))
	if err != nil || len(k) != 1+64 {
		return ErrCorrupt
	}
	return r.t.grant(Grant{Address: a, ID: Ref(k[33:]), Bytes: g.bytes, Expiry: g.expiry, Proof: g.proof}, generation)
}

func (r *rescue) envelope(a Address, k, v []byte) error {
	x, err := parseIndexRow(v)
	if err != nil || len(k) != 1+32+8 {
		return ErrCorrupt
	}
	seq := wire.NewReader(k[33:]).Uint64()
	row, err := getCopy(r.old, keyEnvelope(x.expiry, a, seq))
	if err != nil {
		return ErrCorrupt
	}
	proof, envelope, err := parseEnvelopeRow(row, a, x.digest)
	if err != nil || len(envelope) != int(x.size) {
		return ErrCorrupt
	}
	m, err := r.t.mailbox(a)
	if err != nil {
		return err
	}
	if m.nextSeq < seq {
		m.nextSeq = seq
		r.t.set(keyMailbox(a), m.encode())
	}
	_, err = r.t.put(&Envelope{Address: a, Digest: x.digest, Expiry: x.expiry, Proof: proof, Bytes: envelope, Replica: true})
	return err
}

func (r *rescue) tombstone(a Address, k, v []byte) error {
	t, err := parseTombstoneRow(append([]byte(nil), v...))
	if err != nil || len(k) != 1+64 {
		return ErrCorrupt
	}
	return r.t.bury(Tombstone{Address: a, ID: Ref(k[33:]), Digests: t.digests, Expiry: t.expiry, Proof: t.proof, Replica: true})
}

// marker keeps what a deleted digest's row knows of its envelope.
func (r *rescue) marker(a Address, k, v []byte) error {
	d, err := parseDigestRow(v)
	if err != nil || len(k) != 1+64 {
		return ErrCorrupt
	}
	if d.seq != 0 {
		return nil
	}
	_, err = r.t.digest(a, Digest(k[33:]))
	switch {
	case errors.Is(err, ErrNotFound):
		if _, err := getCopy(r.old, keyMarker(d.expiry, a, Digest(k[33:]))); err != nil {
			return ErrCorrupt // its tombstone is lost, and nothing else would end it
		}
		r.t.set(keyMarker(d.expiry, a, Digest(k[33:])), nil)
	case err != nil:
		return err
	}
	r.t.refuse(a, Digest(k[33:]), d)
	return nil
}
