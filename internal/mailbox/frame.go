package mailbox

import (
	"fmt"
	"io"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Types of frames on a swarm stream (spec/mailbox.md §4.6). A frame's first
// byte is its type, its second the version.
const (
	// FrameKeys asks for the node's request keys, and is answered by one.
	FrameKeys uint8 = 0x01
	// FrameSealed is a sealed request, the first of its context.
	FrameSealed uint8 = 0x02
	// FrameReply is a sealed response in the context of the last FrameSealed.
	FrameReply uint8 = 0x03
	// FrameNext is a further request in that context: a Prove.
	FrameNext uint8 = 0x04
	// FrameBusy refuses a sealed request unopened.
	FrameBusy uint8 = 0x05
)

const (
	// StampNonceSize is the size of a request's nonce in bytes.
	StampNonceSize = 16
	// stampStep is what the times of stamps are rounded to. A clock that is some
	// seconds wrong would otherwise mark all requests of its client.
	stampStep = 60 // seconds
	// padStep is what sealed plaintexts are padded to a multiple of.
	padStep = 1 << 10

	frameHead  = 2
	sealedHead = frameHead + 8
	encSize    = suite.KEMCiphertextSize + suite.DHSize
	stampSize  = 8 + StampNonceSize
)

// Stamp makes a request fresh: the node it is for, the client's time, and a
// nonce that the node remembers while the time counts.
type Stamp struct {
	Node  identity.NodeID
	Time  uint64
	Nonce [StampNonceSize]byte
}

// NewStamp returns a fresh stamp, whose time is now's nearest minute.
func NewStamp(rand io.Reader, node identity.NodeID, now time.Time) (Stamp, error) {
	s := Stamp{Node: node, Time: (unix(now) + stampStep/2) / stampStep * stampStep}
	_, err := io.ReadFull(rand, s.Nonce[:])
	return s, err
}

func (s Stamp) append(b []byte) []byte {
	b = wire.AppendUint64(append(b, s.Node[:]...), s.Time)
	return append(b, s.Nonce[:]...)
}

// FrameType returns a frame's type, or ErrFormat and ErrVersion.
func FrameType(frame []byte) (uint8, error) {
	r := wire.NewReader(frame)
	t := r.Uint8()
	if err := readVersion(r, "frame"); err != nil {
		return 0, err
	}
	return t, nil
}

// KeysRequest returns the frame that asks a node for its request keys.
func KeysRequest() []byte { return []byte{FrameKeys, version} }

// KeysReply returns the frame that answers it.
func KeysReply(c *RequestKeyCert) []byte { return append([]byte{FrameKeys, version}, c.Encode()...) }

// ParseKeysReply reads what KeysReply writes; it verifies nothing.
func ParseKeysReply(frame []byte) (*RequestKeyCert, error) {
	body, err := frameBody(frame, FrameKeys)
	if err != nil {
		return nil, err
	}
	return ParseRequestKeyCert(body)
}

// BusyReply returns the frame that answers a sealed request when a node is too
// busy to open it, with how many seconds to wait. It is not sealed: whoever
// carries it could as well hold the request back.
func BusyReply(retryAfter uint32) []byte {
	return wire.AppendUint32([]byte{FrameBusy, version}, retryAfter)
}

// ParseBusyReply reads what BusyReply writes, as the refusal that it is.
func ParseBusyReply(frame []byte) (*Failure, error) {
	body, err := frameBody(frame, FrameBusy)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(body)
	f := Refuse(ErrBusy)
	f.RetryAfter = r.Uint32()
	return f, finish(r, "busy reply")
}

func frameBody(frame []byte, want uint8) ([]byte, error) {
	t, err := FrameType(frame)
	if err != nil {
		return nil, err
	}
	if t != want {
		return nil, fmt.Errorf("frame of type %d, want %d: %w", t, want, ErrFormat)
	}
	return frame[frameHead:], nil
}

// pad appends content behind its length, and zeros up to the next step.
func pad(b, content []byte) []byte {
	n := len(b) + 4 + len(content)
	size := (n + padStep - 1) / padStep * padStep
	out := make([]byte, 0, size)
	out = wire.AppendVec32(append(out, b...), content)
	return out[:size]
}

func unpad(r *wire.Reader) ([]byte, error) {
	content := r.Vec32(MaxFrame)
	padding := r.Rest()
	if err := finish(r, "padded content"); err != nil {
		return nil, err
	}
	if !allZero(padding) {
		return nil, malformed("padded content", errNonZero)
	}
	return content, nil
}
