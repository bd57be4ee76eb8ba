package onion

// polyvalStride is how many blocks share one reduction in a long input.
const polyvalStride = 4

// polyvalKey is a key of POLYVAL (RFC 8452 §3), the universal hash UH of CGO,
// with its powers.
type polyvalKey struct {
	powers [polyvalStride]fieldKey // key^1, key^2, …
}

// initShort readies k for inputs of a block or two: only sum takes it.
func (k *polyvalKey) initShort(key []byte) fieldElement {
	h := loadElement(key)
	k.powers[0].init(h)
	return h
}

// init readies k for inputs of any length.
func (k *polyvalKey) init(key []byte) {
	h := k.initShort(key)
	power := h
	for i := 1; i < polyvalStride; i++ {
		var p product
		p.add(power, &k.powers[0])
		power = p.reduce()
		k.powers[i].init(power)
	}
}

// block returns the hash after one more block of 16 bytes.
func (k *polyvalKey) block(acc fieldElement, b []byte) fieldElement {
	var p product
	e := loadElement(b)
	p.add(fieldElement{acc.lo ^ e.lo, acc.hi ^ e.hi}, &k.powers[0])
	return p.reduce()
}

// sum returns the hash after b, filled up with zeros to whole blocks.
func (k *polyvalKey) sum(acc fieldElement, b []byte) fieldElement {
	const stride = polyvalStride * 16
	for len(b) >= stride {
		var p product
		e := loadElement(b)
		p.add(fieldElement{acc.lo ^ e.lo, acc.hi ^ e.hi}, &k.powers[polyvalStride-1])
		for i := 1; i < polyvalStride; i++ {
			p.add(loadElement(b[16*i:]), &k.powers[polyvalStride-1-i])
		}
		acc = p.reduce()
		b = b[stride:]
	}
	for ; len(b) >= 16; b = b[16:] {
		acc = k.block(acc, b)
	}
	if len(b) > 0 {
		var last [16]byte
		copy(last[:], b)
		acc = k.block(acc, last[:])
	}
	return acc
}
