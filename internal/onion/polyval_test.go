package onion

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// bothSums hashes in from acc with the processor's multiplication and with
// the portable one.
func bothSums(key []byte, acc fieldElement, in []byte) (fast, portable fieldElement) {
	var k polyvalKey
	k.init(key)
	var p portableKey
	p.init(loadElement(key), portableStride)
	return k.sum(acc, in), p.sum(acc, in)
}

// requirePolyval skips where only the portable code exists.
func requirePolyval(t testing.TB) {
	if !havePolyval {
		t.Skip("no POLYVAL in assembly here")
	}
}

func TestPolyvalAssembly(t *testing.T) {
	requirePolyval(t)
	rapid.Check(t, func(t *rapid.T) {
		key := drawElement(t, "h").bytes()
		acc := drawElement(t, "acc")
		in := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "in")
		in = in[rapid.IntRange(0, min(15, len(in))).Draw(t, "skip"):] // unaligned
		if fast, portable := bothSums(key[:], acc, in); fast != portable {
			t.Fatalf("%d bytes: %x, portable %x", len(in), fast, portable)
		}
	})
}

// TestPolyvalEveryLength meets each remainder of blocks and of bytes.
func TestPolyvalEveryLength(t *testing.T) {
	requirePolyval(t)
	in := bytes.Repeat([]byte{0xff, 0x81, 0x01}, 200)
	for n := range len(in) + 1 {
		if fast, portable := bothSums(in[1:17], fieldElement{^uint64(0), 1}, in[:n]); fast != portable {
			t.Fatalf("%d bytes: %x, portable %x", n, fast, portable)
		}
	}
}

// TestPolyvalShortKey is about keys that know their first power only.
func TestPolyvalShortKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, b := drawElement(t, "h"), drawElement(t, "b")
		key, in := h.bytes(), b.bytes()
		var k polyvalKey
		k.initShort(key[:])
		if got, want := k.block(in[:]), slowMul(b, h); got != want {
			t.Fatalf("%x · %x = %x, want %x", b, h, got, want)
		}
	})
}

func FuzzPolyval(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xff}, 32+16*9))
	f.Add(make([]byte, 32+1161))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 32 {
			return
		}
		if fast, portable := bothSums(in[:16], loadElement(in[16:32]), in[32:]); fast != portable {
			t.Fatalf("%d bytes: %x, portable %x", len(in)-32, fast, portable)
		}
	})
}
