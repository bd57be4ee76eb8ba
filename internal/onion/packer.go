package onion

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxPacked bounds what a Packer holds: a writer that gets further ahead of
// its cells than a few windows of small messages has to wait.
const maxPacked = 64 << 10

// ErrPackerFull is returned when a message would exceed what a Packer holds.
var ErrPackerFull = errors.New("onion: too many messages wait for cells")

// Packer lays messages out in the payloads of cells: several small ones in
// one, long ones over several (spec/onion.md §5.5). The zero value is ready.
// It serves one direction of one hop and is not safe for concurrent use.
type Packer struct {
	buf    []byte // encoded messages that have not left yet
	rest   int    // bytes at the front of buf that belong to a message begun
	isData bool   // that message is DATA
}

// Add appends m, copying its data.
func (p *Packer) Add(m Message) error {
	if m.Command == 0 || m.Command > lastMsgCommand {
		return fmt.Errorf("%w: %v", ErrMessage, m.Command)
	}
	if len(m.Data) > MaxMessage {
		return fmt.Errorf("%w: %v of %d bytes, at most %d", ErrMessageTooLong, m.Command, len(m.Data), MaxMessage)
	}
	if len(p.buf)+MessageHeaderSize+len(m.Data) > maxPacked {
		return ErrPackerFull
	}
	p.buf = append(p.buf, byte(m.Command))
	p.buf = binary.BigEndian.AppendUint16(p.buf, m.Stream)
	p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(len(m.Data)))
	p.buf = append(p.buf, m.Data...)
	return nil
}

// Pending returns how many bytes wait, headers included.
func (p *Packer) Pending() int { return len(p.buf) }

// Next fills payload, which has PayloadSize bytes, from the front of what
// waits, and zeros. It returns false, and leaves payload alone, when nothing
// waits. data reports whether the cell holds any part of a DATA message, and
// therefore counts in the window (spec/onion.md §5.6).
func (p *Packer) Next(payload []byte) (data, ok bool) {
	if len(p.buf) == 0 {
		return false, false
	}
	free, buf := payload, p.buf
	for len(buf) > 0 {
		if p.rest == 0 {
			if len(free) < MessageHeaderSize {
				break
			}
			p.rest = MessageHeaderSize + int(binary.BigEndian.Uint16(buf[3:]))
			p.isData = MsgCommand(buf[0]) == MsgData
		}
		if len(free) == 0 {
			break
		}
		n := copy(free, buf[:p.rest])
		free, buf = free[n:], buf[n:]
		p.rest -= n
		data = data || p.isData
	}
	clear(free)
	p.buf = p.buf[:copy(p.buf, buf)]
	return data, true
}
