package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// frameGrowth is how much of a frame is allocated before its bytes have
// arrived, so that a length alone cannot make a reader spend memory.
const frameGrowth = 64 << 10

// ReadFrame reads one frame: a 4-byte length, at most limit, and that many
// bytes. It returns io.EOF only when the stream ends before the length.
func ReadFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(limit) {
		return nil, fmt.Errorf("frame of %d bytes, at most %d: %w", n, limit, ErrTooLong)
	}
	out := make([]byte, 0, min(int(n), frameGrowth))
	for len(out) < int(n) {
		start := len(out)
		end := min(int(n), start+frameGrowth)
		out = append(out, make([]byte, end-start)...)
		if _, err := io.ReadFull(r, out[start:end]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return out, nil
}

// WriteFrame writes b as one frame, in a single Write.
func WriteFrame(w io.Writer, b []byte) error {
	_, err := w.Write(AppendVec32(make([]byte, 0, 4+len(b)), b))
	return err
}
