package onion

// portableStride is how many blocks share one reduction in a long input.
const portableStride = 4

// portableKey is a key of POLYVAL for the field in portable Go, with its
// powers key^1, key^2, …
type portableKey [portableStride]fieldKey

// init computes as many powers of h as asked for; sum takes all of them.
func (k *portableKey) init(h fieldElement, powers int) {
	k[0].init(h)
	power := h
	for i := 1; i < powers; i++ {
		var p product
		p.add(power, &k[0])
		power = p.reduce()
		k[i].init(power)
	}
}

// block returns the hash after one more block of 16 bytes.
func (k *portableKey) block(acc fieldElement, b []byte) fieldElement {
	var p product
	e := loadElement(b)
	p.add(fieldElement{acc.lo ^ e.lo, acc.hi ^ e.hi}, &k[0])
	return p.reduce()
}

// sum returns the hash after b, filled up with zeros to whole blocks.
func (k *portableKey) sum(acc fieldElement, b []byte) fieldElement {
	const stride = portableStride * 16
	for len(b) >= stride {
		var p product
		e := loadElement(b)
		p.add(fieldElement{acc.lo ^ e.lo, acc.hi ^ e.hi}, &k[portableStride-1])
		for i := 1; i < portableStride; i++ {
			p.add(loadElement(b[16*i:]), &k[portableStride-1-i])
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
