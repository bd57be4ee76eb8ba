package onion

import (
	"bytes"
	"crypto/subtle"
	"fmt"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// ntorProtoID is PROTOID, from which every label of the handshake is made.
const ntorProtoID = suite.LabelPrefix + "ntor3-x25519-mlkem768-sha3_256"

const (
	ntorMACSize        = 32
	ntorKeySize        = 32
	ntorClientOverhead = identity.NodeIDSize + 2*suite.DHSize + ntorMACSize // ID, B, X, MAC
	ntorServerOverhead = suite.DHSize + ntorMACSize                         // Y, AUTH
)

// ntor is one instance of the ntor-v3 handshake. With kem it carries an
// ephemeral ML-KEM-768; without, and with Tor's identifiers, it is Tor's.
type ntor struct {
	protoID      string
	verification string // VER: what both sides must agree on beforehand
	kem          bool
	encapsulate  encapsulator // the relay's; tests fix its randomness
}

type encapsulator func(suite.KEMPublic) (shared, ciphertext []byte, err error)

// circuitNtor is the handshake of the CREATE that begins with head: what stands
// there is agreed on through VER.
func circuitNtor(head []byte, kem encapsulator) *ntor {
	return &ntor{
		protoID:      ntorProtoID,
		verification: "circuit" + string(head),
		kem:          true,
		encapsulate:  kem,
	}
}

// transcript is what both sides know of a handshake, by the specification's
// names. The fields that start empty without a KEM stay so.
type transcript struct {
	id     identity.NodeID // ID
	b      suite.DHPublic  // B, the relay's onion key
	x      suite.DHPublic  // X, the client's ephemeral key
	ek     []byte          // EK, the client's ephemeral KEM key
	bx     []byte          // DH of B and X
	msgMAC []byte          // MAC
	y      suite.DHPublic  // Y, the relay's ephemeral key
	yx     []byte          // DH of Y and X
	ct     []byte          // CT, the ciphertext for EK
	ss     []byte          // SS, the KEM's shared secret
}

// ntorClient is the client's state between its two steps.
type ntorClient struct {
	*ntor
	transcript
	secret suite.DHPrivate
	kem    suite.KEMPrivate
}

// start is the client's first step: it returns the skin that the relay gets.
func (h *ntor) start(x suite.DHPrivate, kem suite.KEMPrivate, id identity.NodeID, b suite.DHPublic, message []byte) (*ntorClient, []byte, error) {
	bx, err := x.Shared(b)
	if err != nil {
		return nil, nil, err
	}
	c := &ntorClient{ntor: h, secret: x, kem: kem}
	c.transcript = transcript{id: id, b: b, x: x.Public(), bx: bx}
	if h.kem {
		ek := kem.Public()
		c.ek = ek[:]
	}
	encKey, macKey := h.phaseOne(&c.transcript)
	skin := make([]byte, 0, ntorClientOverhead+len(c.ek)+len(message))
	skin = append(skin, c.id[:]...)
	skin = append(skin, c.b[:]...)
	skin = append(skin, c.x[:]...)
	skin = append(skin, c.ek...)
	skin = append(skin, ntorCrypt(encKey, message)...)
	c.msgMAC = h.mac(macKey, skin, tweakMsgMAC)
	return c, append(skin, c.msgMAC...), nil
}

// ntorServer is the relay's state between reading the skin and answering.
type ntorServer struct {
	*ntor
	transcript
}

// receive is the relay's first step: it returns the client's message.
func (h *ntor) receive(id identity.NodeID, secret suite.DHPrivate, skin []byte) (*ntorServer, []byte, error) {
	kemSize := 0
	if h.kem {
		kemSize = suite.KEMPublicSize
	}
	if len(skin) < ntorClientOverhead+kemSize {
		return nil, nil, fmt.Errorf("%w: too short", ErrHandshake)
	}
	body, mac := skin[:len(skin)-ntorMACSize], skin[len(skin)-ntorMACSize:]
	s := &ntorServer{ntor: h}
	s.id, s.b = id, secret.Public()
	r := wire.NewReader(body)
	theirID, theirB := r.Bytes(identity.NodeIDSize), r.Bytes(suite.DHSize)
	if !bytes.Equal(theirID, s.id[:]) || !bytes.Equal(theirB, s.b[:]) {
		return nil, nil, ErrOnionKey
	}
	r.Fixed(s.x[:])
	s.ek = r.Bytes(kemSize)
	var err error
	if s.bx, err = secret.Shared(s.x); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrHandshake, err)
	}
	encKey, macKey := h.phaseOne(&s.transcript)
	s.msgMAC = h.mac(macKey, body, tweakMsgMAC)
	if subtle.ConstantTimeCompare(s.msgMAC, mac) == 0 {
		return nil, nil, ErrHandshake
	}
	return s, ntorCrypt(encKey, r.Rest()), nil
}

// answer is the relay's second step: it returns its reply and n bytes of keys.
func (s *ntorServer) answer(y suite.DHPrivate, message []byte, n int) (reply, stream []byte, err error) {
	s.y = y.Public()
	if s.yx, err = y.Shared(s.x); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrHandshake, err)
	}
	if s.kem {
		if s.ss, s.ct, err = s.encapsulate(suite.KEMPublic(s.ek)); err != nil {
			return nil, nil, fmt.Errorf("%w: %v", ErrHandshake, err)
		}
	}
	verify, encKey, stream := s.phaseTwo(&s.transcript, n)
	sealed := ntorCrypt(encKey, message)
	reply = append(reply, s.y[:]...)
	reply = append(reply, s.ct...)
	reply = append(reply, s.auth(&s.transcript, verify, sealed)...)
	return append(reply, sealed...), stream, nil
}

// finish is the client's second step: n bytes of keys and the relay's message.
func (c *ntorClient) finish(reply []byte, n int) (stream, message []byte, err error) {
	ctSize := 0
	if c.ntor.kem {
		ctSize = suite.KEMCiphertextSize
	}
	if len(reply) < ntorServerOverhead+ctSize {
		return nil, nil, fmt.Errorf("%w: too short", ErrHandshake)
	}
	reply = reply[copy(c.y[:], reply):]
	c.ct, reply = reply[:ctSize], reply[ctSize:]
	auth, sealed := reply[:ntorMACSize], reply[ntorMACSize:]
	if c.yx, err = c.secret.Shared(c.y); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrHandshake, err)
	}
	if c.ntor.kem {
		if c.ss, err = c.kem.Decapsulate(c.ct); err != nil {
			return nil, nil, fmt.Errorf("%w: %v", ErrHandshake, err)
		}
	}
	verify, encKey, stream := c.phaseTwo(&c.transcript, n)
	if subtle.ConstantTimeCompare(c.auth(&c.transcript, verify, sealed), auth) == 0 {
		return nil, nil, ErrHandshake
	}
	return stream, ntorCrypt(encKey, sealed), nil
}
