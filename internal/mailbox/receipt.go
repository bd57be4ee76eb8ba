package mailbox

import (
	"fmt"
	"io"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// MaxReceiptBatch is how many receipts one signature covers.
	MaxReceiptBatch = 1 << maxReceiptPath
	maxReceiptPath  = 10
	receiptSaltSize = 16
	// MaxReceiptSize is the size of the longest encoded Receipt in bytes.
	MaxReceiptSize = receiptFixed + maxReceiptPath*suite.HashSize
	receiptFixed   = 1 + identity.NodeIDSize + AddressSize + DigestSize + 16 + receiptSaltSize + 4 + 1 + suite.SignatureSize
)

// Receipt is a member's word that it has an envelope on disk: a leaf of a
// Merkle tree over the receipts of one moment, whose root the member signed.
// The salt keeps a leaf from telling its neighbours' clients what was stored.
type Receipt struct {
	Node      identity.NodeID
	Address   Address
	Digest    Digest
	Expiry    uint64
	Time      uint64
	Salt      [receiptSaltSize]byte
	Size      uint16 // leaves of the tree
	Index     uint16
	Path      [][suite.HashSize]byte // from the leaf's sibling upward
	Signature suite.Signature
}

func receiptLeaf(a Address, d Digest, expiry uint64, salt []byte) [suite.HashSize]byte {
	return suite.Hash(labelReceiptLeaf, a[:], d[:], wire.AppendUint64(nil, expiry), salt)
}

func receiptInner(l, r [suite.HashSize]byte) [suite.HashSize]byte {
	return suite.Hash(labelReceiptInner, l[:], r[:])
}

func receiptRoot(node identity.NodeID, t uint64, size uint16, root [suite.HashSize]byte) []byte {
	b := wire.AppendUint16(wire.AppendUint64(append([]byte{version}, node[:]...), t), size)
	return append(b, root[:]...)
}

// Verify checks the path to the root and the member's signature on it. That
// Node is a member of the swarm is the caller's to check; Confirms checks that
// the receipt is for a certain put.
func (r *Receipt) Verify() error {
	root, err := r.root()
	if err != nil {
		return err
	}
	return r.verifySignature(root)
}

func (r *Receipt) verifySignature(root [suite.HashSize]byte) error {
	if !suite.VerifyKey(r.Node).Verify(labelReceiptRoot, receiptRoot(r.Node, r.Time, r.Size, root), r.Signature) {
		return fmt.Errorf("signature: %w", ErrReceipt)
	}
	return nil
}

// root walks from the leaf to the root, on a path of just the right length.
func (r *Receipt) root() (h [suite.HashSize]byte, err error) {
	if r.Size == 0 || r.Size > MaxReceiptBatch || r.Index >= r.Size {
		return h, fmt.Errorf("index %d of %d: %w", r.Index, r.Size, ErrReceipt)
	}
	h = receiptLeaf(r.Address, r.Digest, r.Expiry, r.Salt[:])
	path := r.Path
	for i, last := r.Index, r.Size-1; last > 0; i, last = i/2, last/2 {
		if i%2 == 0 && i == last {
			continue // an odd one out rises as it is
		}
		if len(path) == 0 {
			return h, fmt.Errorf("path too short: %w", ErrReceipt)
		}
		if i%2 == 1 {
			h = receiptInner(path[0], h)
		} else {
			h = receiptInner(h, path[0])
		}
		path = path[1:]
	}
	if len(path) != 0 {
		return h, fmt.Errorf("path too long: %w", ErrReceipt)
	}
	return h, nil
}

// Confirms verifies the receipt for exactly this put.
func (r *Receipt) Confirms(a Address, d Digest, expiry uint64) error {
	if err := r.isFor(a, d, expiry); err != nil {
		return err
	}
	return r.Verify()
}

func (r *Receipt) isFor(a Address, d Digest, expiry uint64) error {
	if r.Address != a || r.Digest != d || r.Expiry != expiry {
		return fmt.Errorf("for another envelope: %w", ErrReceipt)
	}
	return nil
}

// Encode returns the receipt's bytes.
func (r *Receipt) Encode() []byte {
	b := append([]byte{version}, r.Node[:]...)
	b = append(append(b, r.Address[:]...), r.Digest[:]...)
	b = wire.AppendUint64(wire.AppendUint64(b, r.Expiry), r.Time)
	b = append(b, r.Salt[:]...)
	b = wire.AppendUint16(wire.AppendUint16(b, r.Size), r.Index)
	b = append(b, byte(len(r.Path)))
	for i := range r.Path {
		b = append(b, r.Path[i][:]...)
	}
	return append(b, r.Signature[:]...)
}

// ParseReceipt reads what Encode writes; it verifies nothing.
func ParseReceipt(b []byte) (*Receipt, error) {
	rd := wire.NewReader(b)
	if err := readVersion(rd, "receipt"); err != nil {
		return nil, err
	}
	r := &Receipt{}
	rd.Fixed(r.Node[:])
	rd.Fixed(r.Address[:])
	rd.Fixed(r.Digest[:])
	r.Expiry, r.Time = rd.Uint64(), rd.Uint64()
	rd.Fixed(r.Salt[:])
	r.Size, r.Index = rd.Uint16(), rd.Uint16()
	n := int(rd.Uint8())
	if n > maxReceiptPath {
		return nil, malformed("receipt", wire.ErrTooLong)
	}
	for range n {
		var h [suite.HashSize]byte
		rd.Fixed(h[:])
		r.Path = append(r.Path, h)
	}
	rd.Fixed(r.Signature[:])
	if err := finish(rd, "receipt"); err != nil {
		return nil, err
	}
	return r, nil
}

// ReceiptBatch gathers what a member has on disk, to sign it at once.
type ReceiptBatch struct {
	items []Receipt
}

// Add takes in a stored envelope and returns its place in Sign's result, or
// false when the batch is full.
func (t *ReceiptBatch) Add(a Address, d Digest, expiry uint64) (int, bool) {
	if len(t.items) >= MaxReceiptBatch {
		return 0, false
	}
	t.items = append(t.items, Receipt{Address: a, Digest: d, Expiry: expiry})
	return len(t.items) - 1, true
}

// Len returns how many envelopes the batch holds.
func (t *ReceiptBatch) Len() int { return len(t.items) }

// Sign signs the batch's root and returns its receipts in the order of Add;
// the batch is empty afterwards.
func (t *ReceiptBatch) Sign(rand io.Reader, node suite.Signer, now time.Time) ([]Receipt, error) {
	items := t.items
	if len(items) == 0 {
		return nil, nil
	}
	seed := make([]byte, suite.KeySize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, err
	}
	t.items = nil
	level := make([][suite.HashSize]byte, len(items))
	for i := range items {
		r := &items[i]
		copy(r.Salt[:], suite.Derive(seed, labelReceiptSalt, receiptSaltSize, wire.AppendUint16(nil, uint16(i))))
		level[i] = receiptLeaf(r.Address, r.Digest, r.Expiry, r.Salt[:])
	}
	levels := [][][suite.HashSize]byte{level}
	for len(level) > 1 {
		level = nextLevel(level)
		levels = append(levels, level)
	}
	id, at, size := identity.NodeID(node.Public()), unix(now), uint16(len(items))
	sig := node.Sign(labelReceiptRoot, receiptRoot(id, at, size, level[0]))
	for i := range items {
		r := &items[i]
		r.Node, r.Time, r.Size, r.Index, r.Signature = id, at, size, uint16(i), sig
		r.Path = receiptPath(levels, i)
	}
	return items, nil
}

func nextLevel(level [][suite.HashSize]byte) [][suite.HashSize]byte {
	up := make([][suite.HashSize]byte, 0, (len(level)+1)/2)
	for i := 0; i < len(level); i += 2 {
		if i+1 == len(level) {
			up = append(up, level[i])
			continue
		}
		up = append(up, receiptInner(level[i], level[i+1]))
	}
	return up
}

func receiptPath(levels [][][suite.HashSize]byte, i int) [][suite.HashSize]byte {
	var path [][suite.HashSize]byte
	for _, level := range levels[:len(levels)-1] {
		if sibling := i ^ 1; sibling < len(level) {
			path = append(path, level[sibling])
		}
		i /= 2
	}
	return path
}
