//go:build (amd64 || arm64) && !purego

package onion

// tablePowers is how many blocks share one reduction in assembly.
const tablePowers = polyvalStride / 16

// polyvalTable holds the powers of a key, the highest first, each with the sum
// of its halves (for Karatsuba's trick). Assembly knows this layout.
type polyvalTable [tablePowers]struct {
	power fieldElement
	mid   fieldElement // its low word alone counts
}

// initShort readies t for single blocks.
func (t *polyvalTable) initShort(h fieldElement) {
	t[tablePowers-1].power = h
	t[tablePowers-1].mid.lo = h.lo ^ h.hi
}

// init readies t for any number of blocks.
func (t *polyvalTable) init(h fieldElement) { polyvalPowers(t, &h) }

// blocks returns the hash after b, which is of whole blocks.
func (t *polyvalTable) blocks(acc fieldElement, b []byte) fieldElement {
	if len(b) > 0 {
		polyvalBlocks(&acc, t, &b[0], len(b)/16)
	}
	return acc
}

// polyvalBlocks makes acc the hash after n more blocks. It reads the lowest
// min(n, tablePowers) powers of the table.
//
//go:noescape
func polyvalBlocks(acc *fieldElement, table *polyvalTable, in *byte, n int)
