//go:build amd64 && !purego

package onion

// tablePowers is how many blocks share one reduction in assembly.
const tablePowers = polyvalStride / 16

// polyvalTable holds the powers of a key, the highest first, each with the sum
// of its halves (for Karatsuba's trick). Assembly knows this layout.
type polyvalTable [tablePowers]struct {
	power fieldElement
	mid   fieldElement // its low word alone counts
}

// init computes as many powers of h as asked for: for inputs of so many
// blocks, or of any number if it is tablePowers.
func (t *polyvalTable) init(h fieldElement, powers int) {
	t.set(1, h)
	for i := 2; i <= powers; i++ {
		in := h.bytes()
		h = t.blocks(fieldElement{}, in[:])
		t.set(i, h)
	}
}

func (t *polyvalTable) set(exponent int, h fieldElement) {
	t[tablePowers-exponent].power = h
	t[tablePowers-exponent].mid.lo = h.lo ^ h.hi
}

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
