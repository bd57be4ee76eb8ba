package store

import (
	"hash/crc32"

	"sotto/internal/wire"
)

// Kind tells the records that members replicate apart.
type Kind uint8

const (
	// KindGrant is a mailbox opened, or given more room.
	KindGrant Kind = 1
	// KindEnvelope is an envelope put.
	KindEnvelope Kind = 2
	// KindTombstone is an owner's deletion.
	KindTombstone Kind = 3
)

const (
	// MaxEnvelope is the largest envelope (spec/mailbox.md).
	MaxEnvelope = 256 << 10
	// MaxProof bounds the proof beside a record: signatures, a certificate, work.
	MaxProof = 32 << 10
	// MaxTombstoneDigests is how many envelopes one tombstone takes away.
	MaxTombstoneDigests = 256
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum binds an envelope row to the place it was written for, so that a
// row that was damaged or exchanged on disk is never given out.
func checksum(a Address, d Digest, proof, envelope []byte) uint32 {
	c := crc32.Update(0, castagnoli, a[:])
	c = crc32.Update(c, castagnoli, d[:])
	c = crc32.Update(c, castagnoli, proof)
	return crc32.Update(c, castagnoli, envelope)
}

// mailboxRow is the state of one mailbox.
type mailboxRow struct {
	generation uint64 // drawn when the mailbox is created here
	nextSeq    uint64
	granted    uint64 // bytes
	used       uint64
	expiry     uint64
}

func (m mailboxRow) encode() []byte {
	b := make([]byte, 0, 5*8)
	for _, v := range []uint64{m.generation, m.nextSeq, m.granted, m.used, m.expiry} {
		b = wire.AppendUint64(b, v)
	}
	return b
}

func parseMailboxRow(v []byte) (m mailboxRow, err error) {
	r := wire.NewReader(v)
	m = mailboxRow{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
	return m, corrupt(r.Finish())
}

// indexRow leads from a mailbox's sequence to an envelope.
type indexRow struct {
	digest Digest
	expiry uint64
	size   uint32
}

func (x indexRow) encode() []byte {
	b := append(make([]byte, 0, 32+8+4), x.digest[:]...)
	return wire.AppendUint32(wire.AppendUint64(b, x.expiry), x.size)
}

func parseIndexRow(v []byte) (x indexRow, err error) {
	r := wire.NewReader(v)
	r.Fixed(x.digest[:])
	x.expiry, x.size = r.Uint64(), r.Uint32()
	return x, corrupt(r.Finish())
}

// digestRow says whether an envelope is here (seq), or is refused: a marker.
type digestRow struct {
	seq    uint64 // 0: a marker
	expiry uint64 // a marker's: the latest of its tombstones and its envelope
	was    uint64 // the envelope's own expiry; 0: it was never seen here
}

func (d digestRow) encode() []byte {
	b := wire.AppendUint64(nil, d.seq)
	if d.seq != 0 {
		return b
	}
	return wire.AppendUint64(wire.AppendUint64(b, d.expiry), d.was)
}

func parseDigestRow(v []byte) (d digestRow, err error) {
	r := wire.NewReader(v)
	if d.seq = r.Uint64(); d.seq == 0 {
		d.expiry, d.was = r.Uint64(), r.Uint64()
	}
	return d, corrupt(r.Finish())
}

// grantRow and tombstoneRow keep what a member needs to convince another.
type grantRow struct {
	bytes, expiry uint64
	proof         []byte
}

func (g grantRow) encode() []byte {
	b := make([]byte, 0, 2*8+4+len(g.proof))
	b = wire.AppendUint64(wire.AppendUint64(b, g.bytes), g.expiry)
	return wire.AppendVec32(b, g.proof)
}

func parseGrantRow(v []byte) (g grantRow, err error) {
	r := wire.NewReader(v)
	g = grantRow{bytes: r.Uint64(), expiry: r.Uint64(), proof: r.Vec32(MaxProof)}
	return g, corrupt(r.Finish())
}

type tombstoneRow struct {
	expiry  uint64
	digests []Digest
	proof   []byte
}

func (t tombstoneRow) encode() []byte {
	b := make([]byte, 0, 8+2+32*len(t.digests)+4+len(t.proof))
	b = wire.AppendUint64(b, t.expiry)
	b = wire.AppendUint16(b, uint16(len(t.digests)))
	for _, d := range t.digests {
		b = append(b, d[:]...)
	}
	return wire.AppendVec32(b, t.proof)
}

func parseTombstoneRow(v []byte) (t tombstoneRow, err error) {
	r := wire.NewReader(v)
	t.expiry = r.Uint64()
	n := int(r.Uint16())
	if n > MaxTombstoneDigests {
		return t, ErrCorrupt
	}
	t.digests = make([]Digest, n)
	for i := range t.digests {
		r.Fixed(t.digests[i][:])
	}
	t.proof = r.Vec32(MaxProof)
	return t, corrupt(r.Finish())
}

func encodeEnvelopeRow(e *Envelope) []byte {
	b := make([]byte, 0, 4+4+len(e.Proof)+len(e.Bytes))
	b = wire.AppendUint32(b, checksum(e.Address, e.Digest, e.Proof, e.Bytes))
	b = wire.AppendVec32(b, e.Proof)
	return append(b, e.Bytes...)
}

// parseEnvelopeRow verifies the checksum; the results alias v.
func parseEnvelopeRow(v []byte, a Address, d Digest) (proof, envelope []byte, err error) {
	r := wire.NewReader(v)
	sum := r.Uint32()
	proof, envelope = r.Vec32(MaxProof), r.Rest()
	if r.Finish() != nil || checksum(a, d, proof, envelope) != sum {
		return nil, nil, ErrCorrupt
	}
	return proof, envelope, nil
}

func corrupt(err error) error {
	if err != nil {
		return ErrCorrupt
	}
	return nil
}
