// Package onion is the cryptography and the layout of circuits: cells of one
// size, the handshake that a client makes with each relay (ntor-v3 with an
// ephemeral ML-KEM-768), the layers of a circuit (Counter Galois Onion), and
// the messages that the two ends put inside cells. It implements
// spec/onion.md.
//
// It moves no cell: links, queues, windows and timeouts belong to link, relay
// and circuit. Everything here is bytes in, bytes out.
//
// A cell is 1,152 bytes:
//
//	circuit u32 | command u8 | version u8 | part u8 | 0 u8 | body 1,144
//
// and the body of a relay cell
//
//	tag 16 | payload 1,128
//
// Relays encrypt in both directions and clients decrypt, because only
// encryption is non-malleable: whoever changes one bit of a body turns it, and
// every later one, into noise.
package onion
