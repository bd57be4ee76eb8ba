package onion

import (
	"crypto/aes"
	"crypto/subtle"
	"math/bits"
)

// maxBody bounds a body: with the 5 blocks of an update, the blocks of its
// stream are counted in the last byte of the counter.
const maxBody = TagSize + (256-5)*aes.BlockSize

var _ [maxBody - BodySize]struct{} // a body of ours fits

// uiv is UIV+, the wide-block cipher under CGO (spec/onion.md §5.3): a
// tweakable block cipher J over the tag, tweaked by everything else, and a
// stream S over the rest, seeded by the new tag. It is generic in the length
// of the body, up to maxBody.
type uiv struct {
	jBlock aesKey     // K_B
	jHash  polyvalKey // K_U
	sBlock aesKey     // K
	sHash  polyvalKey // B

	next [layerSize]byte // scratch of update, which is not to allocate: else zeros
}

// init takes J ‖ S = K_B ‖ K_U ‖ K ‖ B.
func (u *uiv) init(key []byte) {
	u.jBlock.init(key[:16])
	u.jHash.init(key[16:32])
	u.sBlock.init(key[32:48])
	u.sHash.initShort(key[48:64])
}

// encrypt is ENC_UIV((J,S), H, (X_L,X_R)) with H = t ‖ ad, in place.
func (u *uiv) encrypt(t *[TagSize]byte, ad byte, body []byte) {
	left, right := body[:TagSize], body[TagSize:]
	u.maskedBlock(true, t, ad, left, right)
	u.stream(left, right)
}

// decrypt is DEC_UIV((J,S), H, (Y_L,Y_R)), in place.
func (u *uiv) decrypt(t *[TagSize]byte, ad byte, body []byte) {
	left, right := body[:TagSize], body[TagSize:]
	u.stream(left, right)
	u.maskedBlock(false, t, ad, left, right)
}

// maskedBlock is ENC_ET or DEC_ET(J, t ‖ ad ‖ right, left), in place.
func (u *uiv) maskedBlock(encrypt bool, t *[TagSize]byte, ad byte, left, right []byte) {
	mask := u.tweak(t, ad, right)
	subtle.XORBytes(left, left, mask[:])
	if encrypt {
		u.jBlock.encrypt(left)
	} else {
		u.jBlock.decrypt(left)
	}
	subtle.XORBytes(left, left, mask[:])
}

// tweak is UH(K_U, t ‖ ad ‖ right), the mask of ET.
func (u *uiv) tweak(t *[TagSize]byte, ad byte, right []byte) [16]byte {
	var head [polyvalStride]byte
	copy(head[:], t[:])
	head[TagSize] = ad
	n := copy(head[TagSize+1:], right)
	acc := u.jHash.sum(fieldElement{}, head[:TagSize+1+n])
	return u.jHash.sum(acc, right[n:]).bytes()
}

// stream XORs PRF(S, left, 0) into right.
func (u *uiv) stream(left, right []byte) {
	u.sBlock.xorStream(u.counter(left, len(right)), right)
}

// keyStream XORs PRF(S, n, 1) into out. size is that of a body's right part:
// the stream starts at the first block that PRF(S, n, 0) does not reach.
func (u *uiv) keyStream(n *[nonceSize]byte, size int, out []byte) {
	iv := u.counter(n[:], size)
	iv.hi |= uint64(aesBlocks(size)) << 56
	u.sBlock.xorStream(iv, out)
}

// counter is UH(B, tweak) with its low bits cleared, as many as count the
// blocks of both streams: two tweaks share all of their blocks or none, and no
// carry leaves the last byte, which is the highest of an element.
func (u *uiv) counter(tweak []byte, size int) fieldElement {
	iv := u.sHash.block(tweak)
	blocks := aesBlocks(size) + aesBlocks(layerSize)
	iv.hi &^= (1<<bits.Len(uint(blocks-1)) - 1) << 56
	return iv
}

func aesBlocks(n int) int { return (n + aes.BlockSize - 1) / aes.BlockSize }

// update is UPDATE_UIV((J,S), N): the next key and nonce, from which the old
// ones cannot be computed.
func (u *uiv) update(n *[nonceSize]byte, right int) {
	u.keyStream(n, right, u.next[:])
	u.init(u.next[:uivKeySize])
	copy(n[:], u.next[uivKeySize:])
	clear(u.next[:])
}
