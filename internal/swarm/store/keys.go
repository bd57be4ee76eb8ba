package store

import (
	"encoding/binary"

	"sotto/internal/wire"
)

// Address is a mailbox's address, Digest an envelope's digest and Ref the name
// of a record within its mailbox: a grant's or tombstone's id, or a digest.
type (
	Address = [32]byte
	Digest  = [32]byte
	Ref     = [32]byte
)

// The key space (spec/swarm.md §4.1). The first byte names the table.
const (
	tabDirty     = 'b' // bucket → "" : rows of this bucket were deleted, not yet purged
	tabDigest    = 'd' // address, digest → live or tombstoned
	tabEnvelope  = 'e' // bucket, address, seq → checksum, proof, envelope
	tabGrant     = 'g' // address, id → grant
	tabHint      = 'h' // node, kind, address, ref → expiry : the node was passed over
	tabIndex     = 'i' // address, seq → digest, expiry, size
	tabMailbox   = 'm' // address → mailbox
	tabMove      = 'v' // fact, node or swarm → serial, time
	tabTombstone = 't' // address, id → tombstone
	tabRecord    = 'x' // expiry, kind, address, ref → "" : the set that replicates
	tabMarker    = 'y' // expiry, address, digest → "" : a marker outlives its tombstone
)

var keyState = []byte{'s'}

// bucketOf groups envelopes by the hour they expire in, so that what expires
// together lies together and leaves the disk without rewriting what stays.
func bucketOf(expiry uint64) uint32 { return uint32(min(expiry/bucketSeconds, 1<<32-1)) }

func keyDirty(bucket uint32) []byte { return binary.BigEndian.AppendUint32([]byte{tabDirty}, bucket) }

func keyDigest(a Address, d Digest) []byte { return key2(tabDigest, a, d) }

func keyGrant(a Address, id Ref) []byte { return key2(tabGrant, a, id) }

func keyTombstone(a Address, id Ref) []byte { return key2(tabTombstone, a, id) }

func keyMailbox(a Address) []byte { return append([]byte{tabMailbox}, a[:]...) }

func keyIndex(a Address, seq uint64) []byte {
	k := make([]byte, 0, 1+32+8)
	k = append(append(k, tabIndex), a[:]...)
	return binary.BigEndian.AppendUint64(k, seq)
}

func keyEnvelope(expiry uint64, a Address, seq uint64) []byte {
	k := make([]byte, 0, 1+4+32+8)
	k = binary.BigEndian.AppendUint32(append(k, tabEnvelope), bucketOf(expiry))
	k = append(k, a[:]...)
	return binary.BigEndian.AppendUint64(k, seq)
}

// Name names a record of the replicated set. Its key in table x is its place in
// the order in which members compare what they have (spec/swarm.md §5.4).
type Name struct {
	Expiry  uint64
	Kind    Kind
	Address Address
	Ref     Ref
}

// NameSize is the size of an encoded name.
const NameSize = 8 + 1 + 32 + 32

// Append appends the name as it stands in the key of table x.
func (n Name) Append(b []byte) []byte {
	b = append(wire.AppendUint64(b, n.Expiry), byte(n.Kind))
	b = append(b, n.Address[:]...)
	return append(b, n.Ref[:]...)
}

// ReadName reads a name.
func ReadName(r *wire.Reader) (n Name) {
	n.Expiry, n.Kind = r.Uint64(), Kind(r.Uint8())
	r.Fixed(n.Address[:])
	r.Fixed(n.Ref[:])
	return n
}

func (n Name) key() []byte { return n.Append(append(make([]byte, 0, 1+NameSize), tabRecord)) }

func parseKeyRecord(k []byte) (Name, error) {
	r := wire.NewReader(k)
	r.Uint8()
	n := ReadName(r)
	return n, corrupt(r.Finish())
}

func keyMarker(expiry uint64, a Address, d Digest) []byte {
	k := make([]byte, 0, 1+8+32+32)
	k = binary.BigEndian.AppendUint64(append(k, tabMarker), expiry)
	return append(append(k, a[:]...), d[:]...)
}

func parseKeyMarker(k []byte) (expiry uint64, a Address, d Digest, err error) {
	r := wire.NewReader(k)
	r.Uint8()
	expiry = r.Uint64()
	r.Fixed(a[:])
	r.Fixed(d[:])
	return expiry, a, d, corrupt(r.Finish())
}

func key2(table byte, a Address, b [32]byte) []byte {
	k := make([]byte, 0, 1+64)
	return append(append(append(k, table), a[:]...), b[:]...)
}

// upper is the first key after all that begin with prefix; no table is 0xff.
func upper(prefix []byte) []byte {
	k := append([]byte(nil), prefix...)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
	return nil
}
