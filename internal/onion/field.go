package onion

import (
	"encoding/binary"
	"math/bits"
)

// The field of POLYVAL (RFC 8452 §3): polynomials over GF(2) modulo
// x^128 + x^127 + x^126 + x^121 + 1, bit i of a little-endian 128-bit number
// being the coefficient of x^i. Products carry POLYVAL's factor x^-128.
//
// Nothing here branches on data or indexes with it, and 64-bit multiplication
// takes constant time on the processors that Go's compiler gives it to.
// polyval_asm.go does without fieldKey where the processor multiplies itself.

// fieldElement is an element of the field.
type fieldElement struct{ lo, hi uint64 }

func loadElement(b []byte) fieldElement {
	return fieldElement{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:16])}
}

func (e fieldElement) bytes() (out [16]byte) {
	binary.LittleEndian.PutUint64(out[:], e.lo)
	binary.LittleEndian.PutUint64(out[8:], e.hi)
	return out
}

// fieldKey is an element made ready for many multiplications by it: its two
// halves and their sum (for Karatsuba's trick), each taken apart by spread.
type fieldKey struct{ lo, hi, mid spread }

func (k *fieldKey) init(e fieldElement) {
	k.lo = spreadOf(e.lo)
	k.hi = spreadOf(e.hi)
	k.mid = spreadOf(e.lo ^ e.hi)
}

// product is a sum of products before reduction, in Karatsuba's three parts.
type product struct{ lo0, lo1, hi0, hi1, mid0, mid1 uint64 }

// add adds e times k to p.
func (p *product) add(e fieldElement, k *fieldKey) {
	a0, a1 := k.lo.mul(e.lo)
	p.lo0 ^= a0
	p.lo1 ^= a1
	a0, a1 = k.hi.mul(e.hi)
	p.hi0 ^= a0
	p.hi1 ^= a1
	a0, a1 = k.mid.mul(e.lo ^ e.hi)
	p.mid0 ^= a0
	p.mid1 ^= a1
}

// reduce returns p times x^-128 modulo the polynomial. The polynomial's lowest
// term is 1, so that adding it w0 and then w1 times clears the low half.
func (p *product) reduce() fieldElement {
	w0 := p.lo0
	w1 := p.lo1 ^ p.mid0 ^ p.lo0 ^ p.hi0
	w2 := p.hi0 ^ p.mid1 ^ p.lo1 ^ p.hi1
	w3 := p.hi1
	w1 ^= w0<<57 ^ w0<<62 ^ w0<<63
	w2 ^= w0 ^ w0>>7 ^ w0>>2 ^ w0>>1
	w2 ^= w1<<57 ^ w1<<62 ^ w1<<63
	w3 ^= w1 ^ w1>>7 ^ w1>>2 ^ w1>>1
	return fieldElement{w2, w3}
}

// spread is a 64-bit polynomial taken apart for multiplying by means of
// integer multiplication. Its first four words hold the low 60 bits, word i
// those at positions i modulo 4: in the product of two such words at most 15
// ones meet at any position, so that a carry never reaches the next position
// that matters, three bits above. The last four words hold one of the top four
// bits each: a product with one bit has no carries at all.
type spread [8]uint64

const (
	every4th = 0x1111111111111111
	low60    = 1<<60 - 1
)

func spreadOf(v uint64) (s spread) {
	for i := range 4 {
		s[i] = v & low60 & (every4th << i)
		s[4+i] = v & (1 << (60 + i))
	}
	return s
}

// mul returns the carry-less product of s and x, low and high half.
func (s *spread) mul(x uint64) (lo, hi uint64) {
	x0, x1, x2, x3 := x&every4th, x&(every4th<<1), x&(every4th<<2), x&(every4th<<3)

	a1, a0 := bits.Mul64(s[0], x0)
	b1, b0 := bits.Mul64(s[1], x3)
	c1, c0 := bits.Mul64(s[2], x2)
	d1, d0 := bits.Mul64(s[3], x1)
	lo = (a0 ^ b0 ^ c0 ^ d0) & every4th
	hi = (a1 ^ b1 ^ c1 ^ d1) & every4th

	a1, a0 = bits.Mul64(s[0], x1)
	b1, b0 = bits.Mul64(s[1], x0)
	c1, c0 = bits.Mul64(s[2], x3)
	d1, d0 = bits.Mul64(s[3], x2)
	lo |= (a0 ^ b0 ^ c0 ^ d0) & (every4th << 1)
	hi |= (a1 ^ b1 ^ c1 ^ d1) & (every4th << 1)

	a1, a0 = bits.Mul64(s[0], x2)
	b1, b0 = bits.Mul64(s[1], x1)
	c1, c0 = bits.Mul64(s[2], x0)
	d1, d0 = bits.Mul64(s[3], x3)
	lo |= (a0 ^ b0 ^ c0 ^ d0) & (every4th << 2)
	hi |= (a1 ^ b1 ^ c1 ^ d1) & (every4th << 2)

	a1, a0 = bits.Mul64(s[0], x3)
	b1, b0 = bits.Mul64(s[1], x2)
	c1, c0 = bits.Mul64(s[2], x1)
	d1, d0 = bits.Mul64(s[3], x0)
	lo |= (a0 ^ b0 ^ c0 ^ d0) & (every4th << 3)
	hi |= (a1 ^ b1 ^ c1 ^ d1) & (every4th << 3)

	a1, a0 = bits.Mul64(s[4], x)
	b1, b0 = bits.Mul64(s[5], x)
	c1, c0 = bits.Mul64(s[6], x)
	d1, d0 = bits.Mul64(s[7], x)
	return lo ^ a0 ^ b0 ^ c0 ^ d0, hi ^ a1 ^ b1 ^ c1 ^ d1
}
