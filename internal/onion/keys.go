package onion

import "fmt"

// Class names what a circuit is for; it fixes the suite that encrypts its
// cells (spec/onion.md §4.2).
type Class = uint8

// ClassStream is an ordered stream of cells under CGO. Others are refused; a
// datagram class will have a suite of its own.
const ClassStream Class = 1

// Sizes of what the handshake yields for each direction (spec/onion.md §5.3).
const (
	aesKeySize  = 16
	hashKeySize = 16
	uivKeySize  = 2 * (aesKeySize + hashKeySize) // J = K_B ‖ K_U, S = K ‖ B
	nonceSize   = TagSize                        // N is what a tag must equal
	layerSize   = uivKeySize + nonceSize
	keysSize    = 2 * layerSize
)

// Tag is the authenticator of a cell that two ends alone could have computed.
// A SENDME quotes it. It is no secret once the cell has been sent.
type Tag [TagSize]byte

// Keys is what a handshake yields for one hop: a UIV key and a nonce for each
// direction. It formats as a placeholder and is used once, by AddHop or
// NewRelayCircuit.
type Keys struct {
	_        [0]func()
	forward  [layerSize]byte // client to relay
	backward [layerSize]byte // relay to client
}

func keysFrom(stream []byte) *Keys {
	k := new(Keys)
	copy(k.forward[:], stream[:layerSize])
	copy(k.backward[:], stream[layerSize:keysSize])
	return k
}

// Erase overwrites the keys with zeros.
func (k *Keys) Erase() {
	clear(k.forward[:])
	clear(k.backward[:])
}

// Format hides the keys from every verb.
func (*Keys) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[circuit keys]")) }
