package onion

type fieldElement struct{ lo, hi uint64 }

func (e fieldElement) bytes() (out [16]byte) { return out }

type polyvalKey struct{ h fieldElement }

func (k *polyvalKey) init(key []byte) {}

func (k *polyvalKey) blocks(acc fieldElement, b []byte) fieldElement { return acc }
func (k *polyvalKey) padded(acc fieldElement, b []byte) fieldElement { return acc }
