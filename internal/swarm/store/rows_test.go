package store

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzRows reads what stands on the disk, rows and their keys, with every
// parser; what is read is written alike. A disk can give back anything.
func FuzzRows(f *testing.F) {
	a, d := Address{1}, Digest{2}
	e := &Envelope{Address: a, Digest: d, Proof: []byte("proof"), Bytes: []byte("envelope")}
	name := Name{Expiry: 1_800_000_000, Kind: KindEnvelope, Address: a, Ref: d}
	f.Add(mailboxRow{1, 2, 3, 4, 5}.encode(), []byte{})
	f.Add(indexRow{d, 9, 10}.encode(), []byte{})
	f.Add(digestRow{seq: 7}.encode(), []byte{})
	f.Add(digestRow{expiry: 8, was: 9}.encode(), []byte{})
	f.Add(grantRow{1, 2, []byte("proof")}.encode(), []byte{})
	f.Add(tombstoneRow{1, []Digest{d, {3}}, []byte("proof")}.encode(), []byte{})
	f.Add(encodeEnvelopeRow(e), []byte{})
	f.Add(state{1, 2, 3}.encode(), []byte{})
	f.Add(name.key(), []byte{})
	f.Add(keyMarker(9, a, d), []byte{})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 9}, Hint{Node{4}, name}.key())
	f.Fuzz(func(t *testing.T, row, key []byte) {
		check := func(what string, err error, in []byte, out func() []byte) {
			switch {
			case err == nil && !bytes.Equal(in, out()):
				t.Errorf("%s is not written as it was read", what)
			case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion):
				t.Errorf("%s: of another class: %v", what, err)
			}
		}
		m, err := parseMailboxRow(row)
		check("mailbox", err, row, m.encode)
		x, err := parseIndexRow(row)
		check("index", err, row, x.encode)
		g, err := parseGrantRow(row)
		check("grant", err, row, g.encode)
		w, err := parseDigestRow(row)
		check("digest", err, row, w.encode)
		b, err := parseTombstoneRow(row)
		check("tombstone", err, row, b.encode)
		s, err := parseState(row)
		check("state", err, row, s.encode)
		proof, envelope, err := parseEnvelopeRow(row, a, d)
		check("envelope", err, row, func() []byte {
			return encodeEnvelopeRow(&Envelope{Address: a, Digest: d, Proof: proof, Bytes: envelope})
		})
		// The first byte of a key is its table, which the reader went to.
		in := func(table byte, k []byte) []byte { return append([]byte{table}, k[min(len(k), 1):]...) }
		n, err := parseKeyRecord(row)
		check("record", err, in(tabRecord, row), n.key)
		expiry, ma, md, err := parseKeyMarker(row)
		check("marker", err, in(tabMarker, row), func() []byte { return keyMarker(expiry, ma, md) })
		h, err := parseHint(key, row)
		check("hint", err, in(tabHint, key), h.key)
	})
}
