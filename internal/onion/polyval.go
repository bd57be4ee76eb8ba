package onion

// polyvalKey is a key of POLYVAL (RFC 8452 §3), the universal hash UH of CGO,
// with its powers: in the form that the processor's carry-less multiplication
// takes, or, where there is none, in that of the portable field.
type polyvalKey struct {
	table    polyvalTable // where havePolyval
	portable *portableKey // elsewhere
}

// polyvalStride is how many bytes at a time any implementation likes best.
const polyvalStride = 8 * 16

// initShort readies k for single blocks: only block takes it.
func (k *polyvalKey) initShort(key []byte) {
	if havePolyval {
		k.table.initShort(loadElement(key))
		return
	}
	k.portable = new(portableKey)
	k.portable.init(loadElement(key), 1)
}

// init readies k for inputs of any length.
func (k *polyvalKey) init(key []byte) {
	if havePolyval {
		k.table.init(loadElement(key))
		return
	}
	// A new one for each key: copies of a layer share what is never written.
	k.portable = new(portableKey)
	k.portable.init(loadElement(key), portableStride)
}

// block returns the hash of one block of 16 bytes.
func (k *polyvalKey) block(b []byte) fieldElement {
	if havePolyval {
		return k.table.blocks(fieldElement{}, b[:16])
	}
	return k.portable.block(fieldElement{}, b)
}

// sum returns the hash after b, filled up with zeros to whole blocks.
func (k *polyvalKey) sum(acc fieldElement, b []byte) fieldElement {
	if !havePolyval {
		return k.portable.sum(acc, b)
	}
	if whole := len(b) &^ (polyvalStride - 1); whole > 0 {
		acc = k.table.blocks(acc, b[:whole])
		b = b[whole:]
	}
	if len(b) > 0 {
		var last [polyvalStride]byte
		acc = k.table.blocks(acc, last[:(copy(last[:], b)+15)&^15])
	}
	return acc
}
