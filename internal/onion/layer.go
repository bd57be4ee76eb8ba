package onion

import "crypto/subtle"

// layer is the state of one hop in one direction (spec/onion.md §5.4): a UIV
// key, the nonce N that the next cell of the two ends carries in place of a
// tag, and T, the tag of the last cell as the layer's relay put it out.
type layer struct {
	key uiv
	n   [nonceSize]byte
	t   [TagSize]byte
}

func newLayer(seed *[layerSize]byte) *layer {
	l := new(layer)
	l.key.init(seed[:uivKeySize])
	copy(l.n[:], seed[uivKeySize:])
	return l
}

// relayEncrypt is what a relay does to every cell, in both directions.
func (l *layer) relayEncrypt(ad byte, body []byte) {
	l.key.encrypt(&l.t, ad, body)
	copy(l.t[:], body)
}

// relayOpen encrypts a cell from the client, and recognises it by its tag.
func (l *layer) relayOpen(ad byte, body []byte) (Tag, bool) {
	tag := Tag(body[:TagSize])
	l.relayEncrypt(ad, body)
	if subtle.ConstantTimeCompare(l.t[:], l.n[:]) == 0 {
		return Tag{}, false
	}
	l.update(len(body))
	return tag, true
}

// relayOriginate encrypts a cell of the relay's own.
func (l *layer) relayOriginate(ad byte, body []byte) Tag {
	copy(body, l.n[:])
	l.relayEncrypt(ad, body)
	l.update(len(body))
	return l.t
}

// clientDecrypt undoes relayEncrypt.
func (l *layer) clientDecrypt(ad byte, body []byte) {
	tag := Tag(body[:TagSize])
	l.key.decrypt(&l.t, ad, body)
	l.t = tag
}

// clientOpen decrypts a cell from the relays, and recognises its layer's own.
func (l *layer) clientOpen(ad byte, body []byte) (Tag, bool) {
	l.clientDecrypt(ad, body)
	if subtle.ConstantTimeCompare(body[:TagSize], l.n[:]) == 0 {
		return Tag{}, false
	}
	l.update(len(body))
	return l.t, true
}

// clientOriginate decrypts a cell of the client's own, so that the layer's
// relay finds N when it encrypts it.
func (l *layer) clientOriginate(ad byte, body []byte) Tag {
	copy(body, l.n[:])
	l.clientDecrypt(ad, body)
	l.update(len(body))
	return Tag(body[:TagSize])
}

// update moves the layer to the next key and nonce, at both ends and after
// every cell between them. Its input is the tag that the relay put out, so that
// toward the client the next key depends on the cell, too.
func (l *layer) update(bodySize int) {
	l.n = l.t
	l.key.update(&l.n, bodySize-TagSize)
}
