package wire

import (
	"encoding/binary"
	"math"
)

// AppendVec8 appends v behind its length in 1 byte. A longer v is a
// programmer's error: every caller bounds its fields before it encodes them.
func AppendVec8(b, v []byte) []byte {
	if len(v) > math.MaxUint8 {
		panic("wire: AppendVec8: field longer than its prefix can say")
	}
	return append(append(b, byte(len(v))), v...)
}

// AppendVec16 appends v behind its length in 2 bytes; see AppendVec8.
func AppendVec16(b, v []byte) []byte {
	if len(v) > math.MaxUint16 {
		panic("wire: AppendVec16: field longer than its prefix can say")
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

// AppendVec32 appends v behind its length in 4 bytes; see AppendVec8.
func AppendVec32(b, v []byte) []byte {
	if uint64(len(v)) > math.MaxUint32 {
		panic("wire: AppendVec32: field longer than its prefix can say")
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// AppendUint16 appends v.
func AppendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

// AppendUint32 appends v.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendUint64 appends v.
func AppendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
