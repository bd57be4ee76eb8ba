package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/wire"
)

// Fault is a class of what may be wrong with a store. It names no mailbox.
type Fault string

const (
	// FaultUnreadable is a file of which a part cannot be read.
	FaultUnreadable Fault = "unreadable part of a file"
	// FaultRow is a row of another layout than its table's.
	FaultRow Fault = "malformed row"
	// FaultChecksum is an envelope that is not what was stored.
	FaultChecksum Fault = "envelope that does not match its checksum"
	// FaultMissing is a row that others lead to and that is not there.
	FaultMissing Fault = "missing row"
	// FaultStray is a row that nothing leads to.
	FaultStray Fault = "stray row"
	// FaultCount is a count that is not the sum of its rows.
	FaultCount Fault = "wrong count"
)

// Report is what Verify found.
type Report struct {
	Mailboxes, Grants, Envelopes, Tombstones, Bytes uint64
	Faults                                          map[Fault]uint64
}

// Sound reports whether nothing is wrong.
func (r Report) Sound() bool { return len(r.Faults) == 0 }

// Verify opens the store in dir for reading, and looks at every row: whether it
// parses, envelopes match their checksums, and tables agree with one another.
// It calls progress, if not nil, with the bytes of envelopes looked at, and
// those that there should be. A store that another process uses is ErrInUse,
// one that cannot even be opened ErrDamaged.
func Verify(ctx context.Context, dir string, opts Options, progress func(done, total uint64)) (Report, error) {
	s := newStore(dir, opts)
	if _, err := s.disk.Stat(dir); err != nil {
		return Report{}, fmt.Errorf("store: verify: %w", err)
	}
	if err := s.openFor(true); err != nil {
		return Report{}, err
	}
	v := &verifier{r: s.db, ctx: ctx, progress: progress, total: s.state.bytes}
	v.report.Faults = map[Fault]uint64{}
	err := v.all(s.state)
	return v.report, errors.Join(err, s.db.Close())
}

type verifier struct {
	ctx      context.Context
	r        pebble.Reader
	progress func(done, total uint64)
	total    uint64
	report   Report
}

func (v *verifier) fault(f Fault) { v.report.Faults[f]++ }

func (v *verifier) all(st state) error {
	tables := map[byte]func(k, val []byte){
		tabMailbox: v.mailbox, tabGrant: v.grant, tabIndex: v.index, tabDigest: v.digest,
		tabEnvelope: v.envelope, tabTombstone: v.tombstone, tabRecord: v.record, tabMarker: v.marker,
	}
	// Every letter, also those of whose rows nothing is known here: what a file
	// holds must be readable.
	for name := byte('a'); name <= 'z'; name++ {
		lo, hi := table(name)
		gaps, err := scan(v.r, lo, hi, jumpWidth, func(k, val []byte) error {
			if look := tables[name]; look != nil {
				look(k, val)
			}
			return v.ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("store: verify: %w", err)
		}
		for range gaps {
			v.fault(FaultUnreadable)
		}
	}
	if st.envelopes != v.report.Envelopes || st.bytes != v.report.Bytes {
		v.fault(FaultCount)
	}
	return nil
}

// get reads a row that another one leads to.
func (v *verifier) get(key []byte) ([]byte, bool) {
	val, err := getCopy(v.r, key)
	switch {
	case err == nil:
		return val, true
	case errors.Is(err, ErrNotFound):
		v.fault(FaultMissing)
	default:
		v.fault(FaultUnreadable)
	}
	return nil, false
}

func (v *verifier) mailbox(k, val []byte) {
	v.report.Mailboxes++
	m, err := parseMailboxRow(val)
	if err != nil || len(k) != 1+32 {
		v.fault(FaultRow)
		return
	}
	var granted, expiry, used uint64
	a := k[1:]
	v.each(tabGrant, a, func(val []byte) {
		if g, err := parseGrantRow(val); err == nil {
			granted, expiry = max(granted, g.bytes), max(expiry, g.expiry)
		}
	})
	v.each(tabIndex, a, func(val []byte) {
		if x, err := parseIndexRow(val); err == nil {
			used += uint64(x.size)
		}
	})
	v.each(tabTombstone, a, func(val []byte) {
		if t, err := parseTombstoneRow(val); err == nil {
			used += tombstoneCost(len(t.digests), len(t.proof))
		}
	})
	if m.granted != granted || m.expiry != expiry || m.used != used {
		v.fault(FaultCount)
	}
}

// each visits a mailbox's rows of a table; what cannot be read is counted when
// the table's turn comes.
func (v *verifier) each(name byte, a []byte, visit func(val []byte)) {
	lo := append([]byte{name}, a...)
	_, _ = scanReadable(v.r, lo, upper(lo), func(_, val []byte) error {
		visit(val)
		return nil
	})
}

func (v *verifier) grant(k, val []byte) {
	v.report.Grants++
	g, err := parseGrantRow(val)
	if err != nil || len(k) != 1+64 {
		v.fault(FaultRow)
		return
	}
	a := Address(k[1:33])
	v.get(keyMailbox(a))
	v.get(Name{g.expiry, KindGrant, a, Ref(k[33:])}.key())
}

func (v *verifier) index(k, val []byte) {
	v.report.Envelopes++
	x, err := parseIndexRow(val)
	if err != nil || len(k) != 1+32+8 {
		v.fault(FaultRow)
		return
	}
	v.report.Bytes += uint64(x.size)
	a, seq := Address(k[1:33]), wire.NewReader(k[33:]).Uint64()
	if row, ok := v.get(keyEnvelope(x.expiry, a, seq)); ok {
		if _, e, err := parseEnvelopeRow(row, a, x.digest); err != nil || len(e) != int(x.size) {
			v.fault(FaultChecksum)
		}
	}
	if row, ok := v.get(keyDigest(a, x.digest)); ok {
		if d, err := parseDigestRow(row); err != nil || d.seq != seq {
			v.fault(FaultStray)
		}
	}
	if row, ok := v.get(keyMailbox(a)); ok {
		if m, err := parseMailboxRow(row); err == nil && seq >= m.nextSeq {
			v.fault(FaultCount)
		}
	}
	v.get(Name{x.expiry, KindEnvelope, a, x.digest}.key())
	if v.progress != nil {
		v.progress(v.report.Bytes, v.total)
	}
}

func (v *verifier) digest(k, val []byte) {
	d, err := parseDigestRow(val)
	if err != nil || len(k) != 1+64 {
		v.fault(FaultRow)
		return
	}
	if d.seq == 0 {
		return // a marker: its tombstone leads to it
	}
	if row, ok := v.get(keyIndex(Address(k[1:33]), d.seq)); ok {
		if x, err := parseIndexRow(row); err != nil || x.digest != Digest(k[33:]) {
			v.fault(FaultStray)
		}
	}
}

func (v *verifier) envelope(k, _ []byte) {
	if len(k) != 1+4+32+8 {
		v.fault(FaultRow)
		return
	}
	a, seq := Address(k[5:37]), wire.NewReader(k[37:]).Uint64()
	row, err := getCopy(v.r, keyIndex(a, seq))
	if errors.Is(err, ErrNotFound) {
		v.fault(FaultStray)
		return
	}
	if x, perr := parseIndexRow(row); err == nil && (perr != nil || bucketOf(x.expiry) != wire.NewReader(k[1:]).Uint32()) {
		v.fault(FaultStray)
	}
}

func (v *verifier) tombstone(k, val []byte) {
	v.report.Tombstones++
	t, err := parseTombstoneRow(val)
	if err != nil || len(k) != 1+64 {
		v.fault(FaultRow)
		return
	}
	a := Address(k[1:33])
	v.get(Name{t.expiry, KindTombstone, a, Ref(k[33:])}.key())
	for _, d := range t.digests {
		if row, ok := v.get(keyDigest(a, d)); ok {
			if m, err := parseDigestRow(row); err == nil && m.seq != 0 {
				v.fault(FaultStray) // deleted, and here
			}
		}
	}
}

func (v *verifier) record(k, _ []byte) {
	n, err := parseKeyRecord(k)
	if err != nil {
		v.fault(FaultRow)
		return
	}
	switch n.Kind {
	case KindGrant:
		v.get(keyGrant(n.Address, n.Ref))
	case KindEnvelope:
		v.get(keyDigest(n.Address, n.Ref))
	case KindTombstone:
		v.get(keyTombstone(n.Address, n.Ref))
	default:
		v.fault(FaultRow)
	}
}

func (v *verifier) marker(k, _ []byte) {
	if _, _, _, err := parseKeyMarker(k); err != nil {
		v.fault(FaultRow)
	}
}
