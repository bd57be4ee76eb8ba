package onion

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// ntorProtoID is PROTOID, from which every label of the handshake is made.
const ntorProtoID = suite.LabelPrefix + "ntor3-x25519-mlkem768-sha3_256"

// The tweaks, appended to PROTOID (spec/onion.md §5.2).
const (
	tweakMsgKDF   = ":kdf_phase1"
	tweakMsgMAC   = ":msg_mac"
	tweakKeySeed  = ":key_seed"
	tweakVerify   = ":verify"
	tweakKDFFinal = ":kdf_final"
	tweakAuth     = ":auth_final"
)

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

// circuitNtor is the handshake of CREATE: its version and class are agreed on
// through VER.
func circuitNtor(class Class, kem encapsulator) *ntor {
	return &ntor{
		protoID:      ntorProtoID,
		verification: "circuit" + string([]byte{Version, class}),
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
