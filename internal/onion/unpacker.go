package onion

import (
	"encoding/binary"
	"fmt"
)

// Unpacker takes messages out of the payloads of cells, in the order in which
// the cells arrived. The zero value is ready. It holds at most one unfinished
// message of at most MaxMessage bytes. It serves one direction of one hop and
// is not safe for concurrent use.
type Unpacker struct {
	partial Message // the message begun in an earlier payload
	missing int     // bytes of it that are still to come
}

// Feed calls handle for each message that payload completes. Data aliases
// payload or the Unpacker and is valid until handle returns. An error, be it
// handle's or the payload's, is final: the circuit is to be destroyed.
//
// data reports whether payload holds any part of a DATA message, and the cell
// therefore counts in the window (spec/onion.md §5.6).
func (u *Unpacker) Feed(payload []byte, handle func(Message) error) (data bool, err error) {
	if u.missing > 0 {
		data = u.partial.Command == MsgData
		payload = u.fill(payload)
		if u.missing > 0 {
			return data, nil
		}
		m := u.partial
		u.partial = Message{Data: m.Data[:0]}
		if err := handle(m); err != nil {
			return data, err
		}
	}
	for len(payload) >= MessageHeaderSize && payload[0] != 0 {
		m, n, err := parseHeader(payload)
		if err != nil {
			return data, err
		}
		data = data || m.Command == MsgData
		payload = payload[MessageHeaderSize:]
		if n > len(payload) {
			u.partial = Message{m.Command, m.Stream, u.partial.Data[:0]}
			u.missing = n
			u.fill(payload)
			return data, nil
		}
		m.Data, payload = payload[:n:n], payload[n:]
		if err := handle(m); err != nil {
			return data, err
		}
	}
	return data, nil
}

// Unfinished reports whether a message has begun whose end is still to come.
func (u *Unpacker) Unfinished() bool { return u.missing > 0 }

// fill moves what is missing from the front of payload, and returns the rest.
func (u *Unpacker) fill(payload []byte) []byte {
	n := min(u.missing, len(payload))
	u.partial.Data = append(u.partial.Data, payload[:n]...)
	u.missing -= n
	return payload[n:]
}

// parseHeader reads the header at the front of payload: the message without
// its data, and the data's length.
func parseHeader(payload []byte) (Message, int, error) {
	m := Message{
		Command: MsgCommand(payload[0]),
		Stream:  binary.BigEndian.Uint16(payload[1:]),
	}
	if m.Command > lastMsgCommand {
		return m, 0, fmt.Errorf("%w: %v", ErrMessage, m.Command)
	}
	n := int(binary.BigEndian.Uint16(payload[3:]))
	if n > MaxMessage {
		return m, 0, fmt.Errorf("%w: %v of %d bytes, at most %d", ErrMessageTooLong, m.Command, n, MaxMessage)
	}
	return m, n, nil
}
