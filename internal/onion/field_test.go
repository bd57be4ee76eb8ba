package onion

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// slowMul is the definition: a·b·x^-128 modulo x^128+x^127+x^126+x^121+1, bit
// by bit.
func slowMul(a, b fieldElement) fieldElement {
	bit := func(e fieldElement, i int) bool {
		if i < 64 {
			return e.lo>>i&1 == 1
		}
		return e.hi>>(i-64)&1 == 1
	}
	prod := new(big.Int)
	wide := new(big.Int).SetUint64(b.hi)
	wide.Lsh(wide, 64).Or(wide, new(big.Int).SetUint64(b.lo))
	for i := range 128 {
		if bit(a, i) {
			prod.Xor(prod, new(big.Int).Lsh(wide, uint(i)))
		}
	}
	modulus := new(big.Int)
	for _, i := range []int{128, 127, 126, 121, 0} {
		modulus.SetBit(modulus, i, 1)
	}
	for range 128 { // divide by x, 128 times
		if prod.Bit(0) == 1 {
			prod.Xor(prod, modulus)
		}
		prod.Rsh(prod, 1)
	}
	for i := prod.BitLen() - 1; i >= 128; i = prod.BitLen() - 1 {
		prod.Xor(prod, new(big.Int).Lsh(modulus, uint(i-128)))
	}
	low := new(big.Int).And(prod, new(big.Int).SetUint64(^uint64(0)))
	return fieldElement{low.Uint64(), new(big.Int).Rsh(prod, 64).Uint64()}
}

func drawElement(t *rapid.T, name string) fieldElement {
	words := rapid.OneOf(rapid.Uint64(), rapid.Just(^uint64(0)), rapid.Just(uint64(1)<<63))
	return fieldElement{words.Draw(t, name+".lo"), words.Draw(t, name+".hi")}
}

func TestFieldAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawElement(t, "a"), drawElement(t, "b")
		var k fieldKey
		k.init(b)
		var p product
		p.add(a, &k)
		if got, want := p.reduce(), slowMul(a, b); got != want {
			t.Fatalf("%x · %x = %x, want %x", a, b, got, want)
		}
	})
}

func TestPolyvalStrides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawElement(t, "h")
		in := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "in")
		var k polyvalKey
		key := h.bytes()
		k.init(key[:])
		var want fieldElement
		for b := in; len(b) > 0; b = b[min(16, len(b)):] {
			var block [16]byte
			copy(block[:], b)
			e := loadElement(block[:])
			want = slowMul(fieldElement{want.lo ^ e.lo, want.hi ^ e.hi}, h)
		}
		if got := k.sum(fieldElement{}, in); got != want {
			t.Fatalf("%d bytes: %x, want %x", len(in), got, want)
		}
	})
}

func TestUIVUndoesItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := uivFrom(rapid.SliceOfN(rapid.Byte(), uivKeySize, uivKeySize).Draw(t, "key"))
		body := rapid.SliceOfN(rapid.Byte(), TagSize, maxBody).Draw(t, "body")
		tag := [TagSize]byte(rapid.SliceOfN(rapid.Byte(), TagSize, TagSize).Draw(t, "tag"))
		ad := rapid.Byte().Draw(t, "ad")
		got := append([]byte(nil), body...)
		u.encrypt(&tag, ad, got)
		u.decrypt(&tag, ad, got)
		if string(got) != string(body) {
			t.Fatal("decryption does not undo encryption")
		}
	})
}
