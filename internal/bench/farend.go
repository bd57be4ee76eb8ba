package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"sotto/internal/identity"
)

// What a farEnd does, by the first byte written to it.
const (
	modeEcho byte = 'e' // say what is heard
	modeSink byte = 's' // swallow everything, and say at its end how much it was
)

// farEnd is the service behind the last hop of a circuit or of the bare chain.
// It has no goroutine, so that it costs next to nothing.
type farEnd struct {
	mu       sync.Mutex // guards what follows
	mode     byte
	heard    uint64
	out      bytes.Buffer
	finished bool // nothing more will be written
	closed   bool
	changed  sync.Cond
}

func newFarEnd() *farEnd {
	f := new(farEnd)
	f.changed.L = &f.mu
	return f
}

func (f *farEnd) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(p)
	if f.mode == 0 && n > 0 {
		f.mode, p = p[0], p[1:]
	}
	f.heard += uint64(len(p))
	if f.mode == modeEcho {
		f.out.Write(p)
		f.changed.Broadcast()
	}
	return n, nil
}

// CloseWrite ends what is heard.
func (f *farEnd) CloseWrite() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode == modeSink && !f.finished {
		f.out.Write(binary.BigEndian.AppendUint64(nil, f.heard))
	}
	f.finished = true
	f.changed.Broadcast()
	return nil
}

func (f *farEnd) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.out.Len() == 0 && !f.finished && !f.closed {
		f.changed.Wait()
	}
	if f.closed {
		return 0, io.ErrClosedPipe
	}
	return f.out.Read(p)
}

// Close makes Read return.
func (f *farEnd) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.changed.Broadcast()
	return nil
}

// farEnds is the relay.ExitDialer of the benchmark: whichever node a stream
// names, a farEnd answers.
type farEnds struct{}

func (farEnds) OpenStream(context.Context, identity.NodeID) (io.ReadWriteCloser, error) {
	return newFarEnd(), nil
}

// stream is a way to a farEnd.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// openMode starts a stream in a mode.
func openMode(s stream, mode byte) error {
	_, err := s.Write([]byte{mode})
	return err
}

// pour sends n bytes in the sink mode, returns when all have arrived, and closes
// the stream.
func pour(s stream, n int) error {
	defer s.Close()
	if err := openMode(s, modeSink); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for left := n; left > 0; {
		k := min(left, len(buf))
		if _, err := s.Write(buf[:k]); err != nil {
			return err
		}
		left -= k
	}
	return drained(s, uint64(n))
}

// drained ends a stream in the sink mode and checks that n bytes arrived.
func drained(s stream, n uint64) error {
	if err := s.CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(s)
	if err != nil {
		return err
	}
	if len(answer) != 8 || binary.BigEndian.Uint64(answer) != n {
		return fmt.Errorf("bench: of %d bytes, %x arrived", n, answer)
	}
	return nil
}
