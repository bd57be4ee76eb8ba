package onion

import (
	"errors"
	"fmt"

	"sotto/internal/identity"
)

const (
	// MessageHeaderSize is the size of a message's header in a payload.
	MessageHeaderSize = 5
	// MaxMessage bounds a message's data: EXTEND is the longest there is, and
	// whoever puts fragments together holds no more than this per circuit.
	MaxMessage = 4 << 10
	// MaxData is the most that one DATA message carries in a cell of its own.
	MaxData = PayloadSize - MessageHeaderSize
	// probeSize is the size of PROBE's token: room for a counter or a time.
	probeSize = 8
)

// MsgCommand says what a message inside a cell asks for.
type MsgCommand uint8

// The commands of messages (spec/onion.md §4.5). Zero ends a payload.
const (
	MsgBegin      MsgCommand = 1  // client: open a stream to a node
	MsgConnected  MsgCommand = 2  // exit: the stream is open
	MsgData       MsgCommand = 3  // bytes of a stream
	MsgEnd        MsgCommand = 4  // no more data this way, or why the stream is over
	MsgSendme     MsgCommand = 5  // a window's worth has arrived
	MsgExtend     MsgCommand = 6  // client: add a hop
	MsgExtended   MsgCommand = 7  // relay: the new hop's answer
	MsgTruncated  MsgCommand = 8  // relay: the circuit ends here from now on
	MsgProbe      MsgCommand = 9  // client: are you there?
	MsgProbeReply MsgCommand = 10 // relay: yes
	MsgDrop       MsgCommand = 11 // padding between the ends; ignored
	MsgCover      MsgCommand = 12 // client: send DROPs
)

const lastMsgCommand = MsgCover

var msgNames = [...]string{
	MsgBegin: "BEGIN", MsgConnected: "CONNECTED", MsgData: "DATA", MsgEnd: "END",
	MsgSendme: "SENDME", MsgExtend: "EXTEND", MsgExtended: "EXTENDED",
	MsgTruncated: "TRUNCATED", MsgProbe: "PROBE", MsgProbeReply: "PROBE_REPLY", MsgDrop: "DROP",
	MsgCover: "COVER",
}

// String names the command as the specification does.
func (c MsgCommand) String() string {
	if c == 0 || c > lastMsgCommand {
		return fmt.Sprintf("message command %d", uint8(c))
	}
	return msgNames[c]
}

var (
	// ErrMessage is returned for a message that is malformed.
	ErrMessage = errors.New("onion: malformed message")
	// ErrMessageTooLong is returned for a message longer than MaxMessage.
	ErrMessageTooLong = errors.New("onion: message too long")
)

// Message is what the ends of a circuit say to each other. Stream is zero for
// what concerns the whole circuit.
type Message struct {
	Command MsgCommand
	Stream  uint16
	Data    []byte
}

// Begin asks the exit for a stream to target; early data follows at once as
// DATA.
func Begin(stream uint16, target identity.NodeID) Message {
	return Message{MsgBegin, stream, target[:]}
}

// Target returns the node that a BEGIN names.
func (m Message) Target() (identity.NodeID, error) {
	if err := m.expect(MsgBegin, true, identity.NodeIDSize); err != nil {
		return identity.NodeID{}, err
	}
	return identity.NodeID(m.Data), nil
}

// Connected tells the client that its stream is open.
func Connected(stream uint16) Message { return Message{Command: MsgConnected, Stream: stream} }

// End says why a stream is over. With ReasonDone it says only that the sender
// has no more data: the other direction goes on until it is ended, too.
func End(stream uint16, why Reason) Message {
	return Message{MsgEnd, stream, []byte{byte(why)}}
}

// Truncated tells the client that the circuit ends at the sender from now on.
func Truncated(why Reason) Message { return Message{Command: MsgTruncated, Data: []byte{byte(why)}} }

// Reason returns the reason in an END or a TRUNCATED.
func (m Message) Reason() (Reason, error) {
	if err := m.expect(m.Command, m.Command == MsgEnd, 1); err != nil {
		return 0, err
	}
	if m.Command != MsgEnd && m.Command != MsgTruncated {
		return 0, fmt.Errorf("%w: a %v has no reason", ErrMessage, m.Command)
	}
	return Reason(m.Data[0]), nil
}

// Sendme acknowledges a window of the circuit: tag is that of the window's
// last cell, and proves that it was received (spec/onion.md §5.6).
func Sendme(tag Tag) Message { return Message{Command: MsgSendme, Data: tag[:]} }

// StreamSendme acknowledges a window of one stream; it rides inside cells
// that the circuit's SENDMEs authenticate.
func StreamSendme(stream uint16) Message { return Message{Command: MsgSendme, Stream: stream} }

// SendmeTag returns the tag of a circuit's SENDME (m.Stream is zero). For a
// stream's SENDME, which has none, it checks the form and returns zeros.
func (m Message) SendmeTag() (Tag, error) {
	if m.Stream != 0 {
		return Tag{}, m.expect(MsgSendme, true, 0)
	}
	if err := m.expect(MsgSendme, false, TagSize); err != nil {
		return Tag{}, err
	}
	return Tag(m.Data), nil
}

// Extend asks the last relay to add node as the next hop by the handshake of
// StartHandshake.
func Extend(node identity.NodeID, create []byte) Message {
	data := make([]byte, 0, len(node)+len(create))
	data = append(append(data, node[:]...), create...)
	return Message{Command: MsgExtend, Data: data}
}

// Extension returns what an EXTEND asks for; create aliases m.Data.
func (m Message) Extension() (node identity.NodeID, create []byte, err error) {
	if err := m.expect(MsgExtend, false, identity.NodeIDSize+HandshakeSize); err != nil {
		return node, nil, err
	}
	return identity.NodeID(m.Data[:identity.NodeIDSize]), m.Data[identity.NodeIDSize:], nil
}

// Extended brings the new hop's CREATED to the client.
func Extended(created []byte) Message { return Message{Command: MsgExtended, Data: created} }

// Created returns the handshake in an EXTENDED, aliasing m.Data.
func (m Message) Created() ([]byte, error) {
	return m.Data, m.expect(MsgExtended, false, HandshakeSize)
}

// Probe asks a hop for an answer with the same token.
func Probe(token [probeSize]byte) Message { return Message{Command: MsgProbe, Data: token[:]} }

// ProbeReply answers a PROBE.
func ProbeReply(token [probeSize]byte) Message {
	return Message{Command: MsgProbeReply, Data: token[:]}
}

// Token returns the token of a PROBE or a PROBE_REPLY.
func (m Message) Token() (token [probeSize]byte, err error) {
	if m.Command != MsgProbe && m.Command != MsgProbeReply {
		return token, fmt.Errorf("%w: a %v has no token", ErrMessage, m.Command)
	}
	if err := m.expect(m.Command, false, probeSize); err != nil {
		return token, err
	}
	return [probeSize]byte(m.Data), nil
}

// expect checks the command, whether the message is one of a stream, and the
// size of its data.
func (m Message) expect(cmd MsgCommand, ofStream bool, size int) error {
	if m.Command != cmd {
		return fmt.Errorf("%w: %v where %v is due", ErrMessage, m.Command, cmd)
	}
	if (m.Stream != 0) != ofStream {
		return fmt.Errorf("%w: %v on stream %d", ErrMessage, m.Command, m.Stream)
	}
	if len(m.Data) != size {
		return fmt.Errorf("%w: %v with %d bytes, want %d", ErrMessage, m.Command, len(m.Data), size)
	}
	return nil
}
