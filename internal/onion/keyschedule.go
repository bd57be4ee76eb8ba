package onion

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha3"
	"encoding/binary"
)

// The tweaks, appended to PROTOID (spec/onion.md §5.2).
const (
	tweakMsgKDF   = ":kdf_phase1"
	tweakMsgMAC   = ":msg_mac"
	tweakKeySeed  = ":key_seed"
	tweakVerify   = ":verify"
	tweakKDFFinal = ":kdf_final"
	tweakAuth     = ":auth_final"
)

// phaseOne derives the keys of the client's message.
func (h *ntor) phaseOne(t *transcript) (encKey, macKey []byte) {
	in := join(t.bx, t.id[:], t.x[:], t.b[:], t.ek, []byte(h.protoID), encap(h.verification))
	out := h.kdf(in, tweakMsgKDF, ntorKeySize+ntorMACSize)
	return out[:ntorKeySize], out[ntorKeySize:]
}

// phaseTwo derives verify, the key of the relay's message and n bytes of keys.
func (h *ntor) phaseTwo(t *transcript, n int) (verify, encKey, stream []byte) {
	in := join(t.yx, t.bx, t.ss, t.id[:], t.b[:], t.x[:], t.y[:], t.ek, t.ct, []byte(h.protoID), encap(h.verification))
	seed := h.hash(in, tweakKeySeed)
	out := h.kdf(seed, tweakKDFFinal, ntorKeySize+n)
	return h.hash(in, tweakVerify), out[:ntorKeySize], out[ntorKeySize:]
}

// auth is AUTH, which proves to the client that the relay has its onion key.
func (h *ntor) auth(t *transcript, verify, sealed []byte) []byte {
	in := join(verify, t.id[:], t.b[:], t.y[:], t.x[:], t.msgMAC, encap(string(sealed)), []byte(h.protoID), []byte("Server"))
	return h.hash(in, tweakAuth)
}

// hash is H(s, t).
func (h *ntor) hash(s []byte, tweak string) []byte {
	out := sha3.Sum256(join(encap(h.protoID+tweak), s))
	return out[:]
}

// mac is MAC(k, msg, t).
func (h *ntor) mac(key, message []byte, tweak string) []byte {
	return h.hash(join(encap(string(key)), message), tweak)
}

// kdf is KDF(s, t).
func (h *ntor) kdf(s []byte, tweak string, n int) []byte {
	return sha3.SumSHAKE256(join(encap(h.protoID+tweak), s), n)
}

// encap is ENCAP(s): s behind its length in 8 bytes.
func encap(s string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(s)), uint64(len(s))), s...)
}

func join(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// ntorCrypt is ENC and DEC: AES-256-CTR from zero, under a key of one use.
func ntorCrypt(key, message []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("onion: ntor key: " + err.Error()) // every key comes from kdf with the right size
	}
	out := make([]byte, len(message))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(out, message)
	return out
}
