package onion

import (
	"errors"
	"fmt"
	"io"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Sizes in CREATE and CREATED (spec/onion.md §4.2).
const (
	createHead       = 2 + workSize // version, class, effort and nonce
	createSealedSize = HandshakeSize - createHead - ntorClientOverhead - suite.KEMPublicSize
	createdHead      = 1 // version
	createdSealed    = HandshakeSize - createdHead - ntorServerOverhead - suite.KEMCiphertextSize

	// MaxClientMessage is the longest message in a CREATE, whose bytes are
	// padded to the same size always. It is protected by the relay's onion key
	// alone, without forward secrecy: nothing secret belongs there.
	MaxClientMessage = createSealedSize - 2
	// MaxServerMessage is the longest message in a CREATED.
	MaxServerMessage = createdSealed - 2
)

var (
	// ErrClass is returned for a circuit class that the relay does not offer.
	ErrClass = errors.New("onion: unknown circuit class")
	// ErrOnionKey is returned for a CREATE made for another relay or for an
	// onion key that the relay no longer has.
	ErrOnionKey = errors.New("onion: handshake for another relay or key")
	// ErrHandshake is returned for a handshake that does not authenticate.
	ErrHandshake = errors.New("onion: handshake does not authenticate")
)

// ClientHandshake is the client's state between CREATE and CREATED.
type ClientHandshake struct {
	ntor *ntorClient
}

// StartHandshake makes the CREATE bytes for a relay, HandshakeSize long. rand
// gives 96 bytes. message is at most MaxClientMessage long.
func StartHandshake(rand io.Reader, relay identity.NodeID, onionKey suite.DHPublic, class Class, message []byte) (*ClientHandshake, []byte, error) {
	return PaidHandshake(rand, relay, onionKey, class, message, Payment{})
}

// PaidHandshake is StartHandshake with work in it, which may take a while.
func PaidHandshake(rand io.Reader, relay identity.NodeID, onionKey suite.DHPublic, class Class, message []byte, pay Payment) (*ClientHandshake, []byte, error) {
	padded, err := padMessage(message, createSealedSize)
	if err != nil {
		return nil, nil, err
	}
	x, err := suite.NewDHPrivate(rand)
	if err != nil {
		return nil, nil, err
	}
	kem, err := suite.NewKEMPrivate(rand)
	if err != nil {
		return nil, nil, err
	}
	nonce, err := pay.solve(relay, x.Public())
	if err != nil {
		return nil, nil, err
	}
	head := createHeader{class, pay.Effort, nonce}
	out := head.append(make([]byte, 0, HandshakeSize))
	state, skin, err := circuitNtor(out, nil).start(x, kem, relay, onionKey, padded)
	if err != nil {
		return nil, nil, err
	}
	return &ClientHandshake{ntor: state}, append(out, skin...), nil
}

// Finish checks the relay's answer and derives the hop's keys. A state
// finishes once.
func (h *ClientHandshake) Finish(created []byte) (*Keys, []byte, error) {
	if len(created) != HandshakeSize {
		return nil, nil, fmt.Errorf("%w: CREATED of %d bytes, want %d", ErrCreate, len(created), HandshakeSize)
	}
	if created[0] != Version {
		return nil, nil, fmt.Errorf("%w: CREATED version %d, want %d", ErrVersion, created[0], Version)
	}
	stream, padded, err := h.ntor.finish(created[createdHead:], keysSize)
	if err != nil {
		return nil, nil, err
	}
	message, err := unpadMessage(padded)
	if err != nil {
		return nil, nil, err
	}
	return keysFrom(stream), message, nil
}

// Reply sees the class and the message of a client's CREATE and returns the
// message to send back, at most MaxServerMessage long. Its error refuses the
// circuit.
type Reply func(class Class, message []byte) ([]byte, error)

// AnswerHandshake checks a client's CREATE bytes and makes the CREATED bytes
// and the hop's keys. rand gives 32 bytes. Where a relay has changed its onion
// key lately, it tries the other one after ErrOnionKey, which costs nothing.
func AnswerHandshake(rand io.Reader, relay identity.NodeID, onionSecret suite.DHPrivate, create []byte, reply Reply) (created []byte, keys *Keys, err error) {
	return answerHandshake(rand, suite.KEMPublic.Encapsulate, relay, onionSecret, create, reply)
}

func answerHandshake(rand io.Reader, kem encapsulator, relay identity.NodeID, onionSecret suite.DHPrivate, create []byte, reply Reply) (created []byte, keys *Keys, err error) {
	head, skin, err := parseCreate(create)
	if err != nil {
		return nil, nil, err
	}
	server, padded, err := circuitNtor(create[:createHead], kem).receive(relay, onionSecret, skin)
	if err != nil {
		return nil, nil, err
	}
	message, err := unpadMessage(padded)
	if err != nil {
		return nil, nil, err
	}
	if message, err = reply(head.class, message); err != nil {
		return nil, nil, err
	}
	if padded, err = padMessage(message, createdSealed); err != nil {
		return nil, nil, err
	}
	y, err := suite.NewDHPrivate(rand)
	if err != nil {
		return nil, nil, err
	}
	answer, stream, err := server.answer(y, padded, keysSize)
	if err != nil {
		return nil, nil, err
	}
	created = append(make([]byte, 0, HandshakeSize), Version)
	return append(created, answer...), keysFrom(stream), nil
}

// createHeader is what stands in clear in front of a CREATE, after its version.
type createHeader struct {
	class  Class
	effort uint8
	nonce  uint64
}

func (h createHeader) append(b []byte) []byte {
	return wire.AppendUint64(append(b, Version, h.class, h.effort), h.nonce)
}

// parseCreate checks what stands in clear in a CREATE, at no cost.
func parseCreate(create []byte) (createHeader, []byte, error) {
	var head createHeader
	if len(create) != HandshakeSize {
		return head, nil, fmt.Errorf("%w: CREATE of %d bytes, want %d", ErrCreate, len(create), HandshakeSize)
	}
	if v := create[0]; v != Version {
		return head, nil, fmt.Errorf("%w: CREATE version %d, want %d", ErrVersion, v, Version)
	}
	if class := create[1]; class != ClassStream {
		return head, nil, fmt.Errorf("%w: %d", ErrClass, class)
	}
	r := wire.NewReader(create[1:createHead])
	head.class, head.effort, head.nonce = r.Uint8(), r.Uint8(), r.Uint64()
	return head, create[createHead:], nil
}

// padMessage puts a message behind its length and fills it up to size, so
// that a handshake's bytes say nothing about it.
func padMessage(message []byte, size int) ([]byte, error) {
	if len(message) > size-2 {
		return nil, fmt.Errorf("%w: %d bytes in a handshake, at most %d", ErrMessageTooLong, len(message), size-2)
	}
	out := wire.AppendVec16(make([]byte, 0, size), message)
	return out[:size], nil
}

func unpadMessage(padded []byte) ([]byte, error) {
	r := wire.NewReader(padded)
	message := r.Vec16(len(padded))
	for _, b := range r.Rest() {
		if b != 0 {
			return nil, fmt.Errorf("%w in a handshake's padding", ErrReserved)
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMessage, err)
	}
	return message, nil
}
