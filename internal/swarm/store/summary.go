package store

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"

	"sotto/internal/suite"
)

// Labels of this package (spec/swarm.md §2).
const (
	labelRecord suite.Label = suite.LabelPrefix + "swarm/record"
	labelSum    suite.Label = suite.LabelPrefix + "swarm/sum"
	labelShort  suite.Label = suite.LabelPrefix + "swarm/short"
)

// FingerprintSize is the size of a sum's fingerprint.
const FingerprintSize = 16

// Bound is a place between names: a name belongs to [lo, hi) when lo ≤ name < hi
// as bytes. It is a name's first bytes, or all of them.
type Bound string

const (
	// First lies before every name.
	First Bound = ""
	// End lies behind every name whose expiry a clock can reach.
	End Bound = "\xff"
)

// After returns the bound before all names that expire later than a time.
func After(expiry uint64) Bound {
	if expiry == noExpiry {
		return End
	}
	return Bound(binary.BigEndian.AppendUint64(nil, expiry+1))
}

// Sum is what two members compare of a range: how many names it holds, and the
// sum of their hashes modulo 2^256. It changes by one addition for each record
// that comes or goes (A. Meyer, Range-Based Set Reconciliation, 2022, §5).
type Sum struct {
	Count uint64
	limbs [4]uint64 // least first
}

// sumOf is the sum of one name.
func sumOf(name []byte) Sum {
	h := suite.Hash(labelRecord, name)
	x := Sum{Count: 1}
	for i := range x.limbs {
		x.limbs[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	return x
}

func (x Sum) plus(y Sum) Sum {
	var carry uint64
	for i := range x.limbs {
		x.limbs[i], carry = bits.Add64(x.limbs[i], y.limbs[i], carry)
	}
	x.Count += y.Count
	return x
}

func (x Sum) minus(y Sum) Sum {
	var borrow uint64
	for i := range x.limbs {
		x.limbs[i], borrow = bits.Sub64(x.limbs[i], y.limbs[i], borrow)
	}
	x.Count -= y.Count
	return x
}

// Fingerprint is what goes over the wire of a sum.
func (x Sum) Fingerprint() (f [FingerprintSize]byte) {
	var b [5 * 8]byte
	binary.LittleEndian.PutUint64(b[:], x.Count)
	for i, l := range x.limbs {
		binary.LittleEndian.PutUint64(b[8+8*i:], l)
	}
	h := suite.Hash(labelSum, b[:])
	copy(f[:], h[:])
	return f
}

// ShortIDSize is the size of a short id.
const ShortIDSize = 4

// ShortID stands for a name in a list that is made under a fresh salt: nobody
// can choose two names that share one.
func ShortID(salt [8]byte, n Name) (id [ShortIDSize]byte) {
	h := suite.Hash(labelShort, salt[:], n.Append(make([]byte, 0, NameSize)))
	copy(id[:], h[:])
	return id
}

// leaf sums up the names from lo to the next leaf's lo.
type leaf struct {
	lo  Bound
	sum Sum
}

const (
	// leafMax is how many names a leaf has before it is split: a difference is
	// searched for in so many, and each takes about 150 bytes of memory.
	leafMax = 96
	// leafFill is what a leaf gets when it is made by a scan.
	leafFill = leafMax / 2
	// leafMin is what two neighbours may have together to become one.
	leafMin = leafMax / 4
)

// summary is the summary of one section: leaves in order, of which the first
// begins at First. One of a million records has about 15,000.
type summary struct{ leaves []leaf }

func newSummary() *summary { return &summary{leaves: []leaf{{lo: First}}} }

// find returns the index of the leaf that a name, or a bound, lies in.
func (y *summary) find(at Bound) int {
	return sort.Search(len(y.leaves), func(i int) bool { return y.leaves[i].lo > at }) - 1
}

// hi is where a leaf ends.
func (y *summary) hi(i int) Bound {
	if i+1 < len(y.leaves) {
		return y.leaves[i+1].lo
	}
	return End
}

// change adds or removes a name, and reports whether its leaf is too full.
func (y *summary) change(name []byte, gone bool) (full bool) {
	i := y.find(Bound(name))
	if !gone {
		y.leaves[i].sum = y.leaves[i].sum.plus(sumOf(name))
		return y.leaves[i].sum.Count > leafMax
	}
	y.leaves[i].sum = y.leaves[i].sum.minus(sumOf(name))
	y.join(i)
	return false
}

// join makes one leaf of neighbours that have few names left.
func (y *summary) join(i int) {
	if i+1 == len(y.leaves) {
		i--
	}
	if i < 0 || y.leaves[i].sum.Count+y.leaves[i+1].sum.Count > leafMin {
		return
	}
	y.leaves[i].sum = y.leaves[i].sum.plus(y.leaves[i+1].sum)
	y.leaves = slices.Delete(y.leaves, i+1, i+2)
}

// replace puts leaves that a scan made in the place of one.
func (y *summary) replace(i int, with []leaf) {
	y.leaves = slices.Replace(y.leaves, i, i+1, with...)
}

// filler makes leaves out of names that come in order.
type filler struct {
	leaves []leaf
	last   []byte
}

func newFiller(lo Bound) *filler { return &filler{leaves: []leaf{{lo: lo}}} }

func (f *filler) add(name []byte) {
	l := &f.leaves[len(f.leaves)-1]
	if l.sum.Count >= leafFill {
		f.leaves = append(f.leaves, leaf{lo: between(f.last, name)})
		l = &f.leaves[len(f.leaves)-1]
	}
	l.sum = l.sum.plus(sumOf(name))
	f.last = append(f.last[:0], name...)
}

func (f *filler) total() (sum Sum) {
	for _, l := range f.leaves {
		sum = sum.plus(l.sum)
	}
	return sum
}

// between is the shortest bound that lies behind a and not behind b, for a < b.
func between(a, b []byte) Bound {
	for n := 1; n <= len(b); n++ {
		if !bytes.HasPrefix(a, b[:n]) {
			return Bound(b[:n])
		}
	}
	return Bound(b)
}
