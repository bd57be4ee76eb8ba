//go:build amd64 && !purego

package onion

// aesSchedule is the round keys of AES-128 for encryption.
type aesSchedule [11][16]byte

// aesExpand writes the round keys of the 16 bytes at key.
//
//go:noescape
func aesExpand(schedule *aesSchedule, key *byte)

// aesEncrypt encrypts the 16 bytes at block in place.
//
//go:noescape
func aesEncrypt(schedule *aesSchedule, block *byte)

// aesDecrypt decrypts the 16 bytes at block in place.
//
//go:noescape
func aesDecrypt(schedule *aesSchedule, block *byte)

// aesCounter8 XORs the stream from counter iv into so many times 128 bytes, at
// least once, and moves iv on. It counts in the last byte alone.
//
//go:noescape
func aesCounter8(schedule *aesSchedule, iv *fieldElement, data *byte, strides int)

func (s *aesSchedule) init(key []byte) { aesExpand(s, &key[:aesKeySize][0]) }

func (s *aesSchedule) encrypt(block []byte) { aesEncrypt(s, &block[:16][0]) }

func (s *aesSchedule) decrypt(block []byte) { aesDecrypt(s, &block[:16][0]) }

func (s *aesSchedule) xorStream(iv *fieldElement, b []byte) {
	const stride = 8 * 16
	if n := len(b) / stride; n > 0 {
		aesCounter8(s, iv, &b[0], n)
		b = b[n*stride:]
	}
	if len(b) > 0 {
		var last [stride]byte
		copy(last[:], b)
		aesCounter8(s, iv, &last[0], 1)
		copy(b, last[:])
	}
}
