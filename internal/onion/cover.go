package onion

import (
	"encoding/binary"
	"fmt"
	"time"

	"sotto/internal/padding"
)

// coverSize is a COVER's data: a mean in milliseconds, and a train's length.
const coverSize = 4 + 1

// dropData fills one cell with its DROP.
var dropData [MaxData]byte

// Drop is a message that means nothing and fills a cell.
func Drop() Message { return Message{Command: MsgDrop, Data: dropData[:]} }

// CheckDrop checks a DROP's form: it concerns no stream.
func (m Message) CheckDrop() error { return m.expect(MsgDrop, false, len(m.Data)) }

// Cover asks a hop for trains of DROP cells at random moments, mean apart on
// average; with a mean of 0 for one train now; with a train of 0, too, for no
// more (spec/padding.md §4).
func Cover(mean time.Duration, train int) Message {
	data := binary.BigEndian.AppendUint32(nil, uint32(mean.Milliseconds()))
	return Message{Command: MsgCover, Data: append(data, byte(train))}
}

// Coverage returns what a COVER asks for, within the bounds.
func (m Message) Coverage() (mean time.Duration, train int, err error) {
	if err := m.expect(MsgCover, false, coverSize); err != nil {
		return 0, 0, err
	}
	mean = time.Duration(binary.BigEndian.Uint32(m.Data)) * time.Millisecond
	train = int(m.Data[4])
	if train > padding.MaxTrain || mean > 0 && (train == 0 || mean < padding.MinMean) {
		return 0, 0, fmt.Errorf("%w: COVER of %d cells every %v", ErrMessage, train, mean)
	}
	return mean, train, nil
}
