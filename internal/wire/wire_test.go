package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestReaderTakesWhatWasAppended(t *testing.T) {
	b := AppendUint16([]byte{7}, 0x0102)
	b = AppendUint32(b, 0x03040506)
	b = AppendUint64(b, 0x0708090a0b0c0d0e)
	b = AppendVec8(b, []byte("a"))
	b = AppendVec16(b, []byte("bc"))
	b = AppendVec32(b, []byte("def"))
	r := NewReader(b)
	if r.Uint8() != 7 || r.Uint16() != 0x0102 || r.Uint32() != 0x03040506 || r.Uint64() != 0x0708090a0b0c0d0e {
		t.Fatal("integers differ")
	}
	if string(r.Vec8(1)) != "a" || string(r.Vec16(2)) != "bc" || string(r.Vec32(3)) != "def" {
		t.Fatal("vectors differ")
	}
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
}

func TestReaderRefuses(t *testing.T) {
	tests := map[string]struct {
		in   []byte
		read func(*Reader)
		want error
	}{
		"short integer":       {[]byte{1}, func(r *Reader) { r.Uint32() }, ErrShort},
		"short vector":        {[]byte{0, 3, 1}, func(r *Reader) { r.Vec16(9) }, ErrShort},
		"vector over limit":   {[]byte{0, 3, 1, 2, 3}, func(r *Reader) { r.Vec16(2) }, ErrTooLong},
		"huge 32-bit length":  {[]byte{255, 255, 255, 255}, func(r *Reader) { r.Vec32(1 << 20) }, ErrTooLong},
		"negative length":     {[]byte{1}, func(r *Reader) { r.Bytes(-1) }, ErrShort},
		"trailing":            {[]byte{1, 2}, func(r *Reader) { r.Uint8() }, ErrTrailing},
		"first error is kept": {[]byte{0, 9, 1}, func(r *Reader) { r.Vec16(2); r.Uint64() }, ErrTooLong},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := NewReader(tc.in)
			tc.read(r)
			if err := r.Finish(); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestFrameErrors(t *testing.T) {
	if _, err := ReadFrame(bytes.NewReader(nil), 10); err != io.EOF {
		t.Errorf("empty stream: got %v, want EOF", err)
	}
	if _, err := ReadFrame(bytes.NewReader([]byte{0, 0, 0, 5, 1}), 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut frame: got %v, want unexpected EOF", err)
	}
	if _, err := ReadFrame(bytes.NewReader([]byte{0, 0, 0, 11}), 10); !errors.Is(err, ErrTooLong) {
		t.Errorf("long frame: got %v, want ErrTooLong", err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(AppendVec32(nil, []byte("frame")))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := ReadFrame(bytes.NewReader(in), 1<<16)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteFrame(&out, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), in[:out.Len()]) {
			t.Fatal("a frame that was read is not written alike")
		}
	})
}
