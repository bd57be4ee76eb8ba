package onion

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"pgregory.net/rapid"
)

// sameAES compares a key with the standard library's: one block both ways, and
// the stream over in, from a counter that in does not carry out of.
func sameAES(t rapid.TB, key, block [16]byte, in []byte) {
	var k aesKey
	k.init(key[:])
	library, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	got, want := block, block
	k.encrypt(got[:])
	library.Encrypt(want[:], want[:])
	if got != want {
		t.Fatalf("key %x: %x is encrypted to %x, want %x", key, block, got, want)
	}
	if k.decrypt(got[:]); got != block {
		t.Fatalf("key %x: %x comes back as %x", key, block, got)
	}
	iv := block
	iv[15] = byte(256 - aesBlocks(len(in)))
	b, wantStream := append([]byte{}, in...), append([]byte{}, in...)
	k.xorStream(loadElement(iv[:]), b)
	cipher.NewCTR(library, iv[:]).XORKeyStream(wantStream, wantStream)
	if !bytes.Equal(b, wantStream) {
		t.Fatalf("key %x: the stream of %d bytes from %x differs", key, len(in), iv)
	}
}

func TestAESAgainstLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, block := drawElement(t, "key").bytes(), drawElement(t, "block").bytes()
		sameAES(t, key, block, rapid.SliceOfN(rapid.Byte(), 1, maxBody).Draw(t, "in"))
	})
}

// TestAESEveryLength meets each remainder of blocks and of bytes.
func TestAESEveryLength(t *testing.T) {
	in := bytes.Repeat([]byte{0xff, 0x81, 0x01}, 200)
	for n := 1; n <= len(in); n++ {
		sameAES(t, [16]byte{15: 1}, [16]byte{14: 0xff}, in[:n])
	}
}

func FuzzAES(f *testing.F) {
	f.Add(make([]byte, 32+1128))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 32 && len(in) <= 32+maxBody {
			sameAES(t, [16]byte(in), [16]byte(in[16:]), in[32:])
		}
	})
}

// TestCellsAllocateNothing holds at both ends and between, key updates included.
func TestCellsAllocateNothing(t *testing.T) {
	if !haveAES || !havePolyval {
		t.Skip("the portable code allocates")
	}
	c := newChain(t, 3)
	var cell Cell
	cell.SetHeader(1, CmdRelay)
	for what, step := range map[string]func(){
		"Seal":      func() { _, _ = c.client.Seal(2, &cell, cell.Payload()) },
		"Outbound":  func() { c.relays[0].Outbound(&cell) },
		"Inbound":   func() { c.relays[0].Inbound(&cell) },
		"Originate": func() { _, _ = c.relays[0].Originate(&cell, cell.Payload()) },
		"Open":      func() { _, _, _, _ = c.client.Open(&cell) },
	} {
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
}
