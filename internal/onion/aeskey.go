package onion

import (
	"crypto/aes"
	"crypto/cipher"
)

// aesKey is a key of AES-128. The standard library's allocates for every key
// and every stream; where haveAES, this one does neither.
type aesKey struct {
	schedule aesSchedule  // where haveAES
	library  cipher.Block // elsewhere
}

// init takes the first 16 bytes of key.
func (k *aesKey) init(key []byte) {
	if haveAES {
		k.schedule.init(key)
		return
	}
	block, err := aes.NewCipher(key[:aesKeySize])
	if err != nil {
		panic("onion: AES key: " + err.Error()) // 16 bytes are a size that it has
	}
	k.library = block
}

// encrypt encrypts one block in place.
func (k *aesKey) encrypt(block []byte) {
	if haveAES {
		k.schedule.encrypt(block)
		return
	}
	k.library.Encrypt(block, block)
}

// decrypt decrypts one block in place.
func (k *aesKey) decrypt(block []byte) {
	if haveAES {
		k.schedule.decrypt(block)
		return
	}
	k.library.Decrypt(block, block)
}

// xorStream XORs the stream that starts with the block of counter iv into b.
// The counter's last byte must not overflow before b ends (spec/onion.md §5.3
// clears enough of its bits).
func (k *aesKey) xorStream(iv fieldElement, b []byte) {
	if haveAES {
		k.schedule.xorStream(&iv, b)
		return
	}
	counter := iv.bytes()
	cipher.NewCTR(k.library, counter[:]).XORKeyStream(b, b)
}
