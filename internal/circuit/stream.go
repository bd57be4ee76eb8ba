package circuit

import (
	"bytes"
	"io"
	"os"
	"time"

	"sotto/internal/identity"
	"sotto/internal/onion"
)

// Stream is a byte stream through a circuit to a node. One goroutine may read
// while another writes; Close may be called beside both. When the circuit dies,
// every method returns a *DeadError at once, whatever had arrived; when the
// exit ends the stream, a *StreamError.
type Stream struct {
	c      *circuit
	id     uint16
	target identity.NodeID

	readable chan struct{} // holds one: look again
	writable chan struct{}

	// Guarded by c.mu.
	begun     bool // BEGIN is queued or sent
	connected bool
	closed    bool  // by Close
	err       error // why the exit ended the stream

	out      bytes.Buffer // written and not sent
	finished bool         // CloseWrite was called
	ended    bool         // our END is queued or sent
	queued   bool         // stands in c.ready
	send     onion.StreamSendWindow

	in        bytes.Buffer // arrived and not read
	answered  bool         // something has arrived
	impatient bool         // silence is never in order: not for receiving
	remoteEnd bool         // the exit has no more data
	receive   onion.StreamReceiveWindow

	readDeadline, writeDeadline time.Time
}

// openLocked adds a stream; nothing is sent before the first Write.
func (c *circuit) openLocked(target identity.NodeID, purpose Purpose) *Stream {
	c.last++
	s := &Stream{
		c: c, id: c.last, target: target, impatient: purpose != Receive,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
	c.streams[s.id] = s
	return s
}

// Target returns the node at the other end.
func (s *Stream) Target() identity.NodeID { return s.target }

// Exit returns the circuit's exit.
func (s *Stream) Exit() identity.NodeID { return s.c.path.Exit.ID }

// Path returns the PathInfo.ID of the circuit.
func (s *Stream) Path() uint64 { return s.c.id }

// Dead is closed when the circuit is dead.
func (s *Stream) Dead() <-chan struct{} { return s.c.done }

// Retiring is closed when the circuit takes no new streams, because of its age
// or use: what is to stand for long moves to another, and closes this one after.
func (s *Stream) Retiring() <-chan struct{} { return s.c.retiring }

// Read reads what has arrived. While it waits, the circuit is probed, except
// on a receiving stream that has brought something already and has no read
// deadline: a standing subscription waits in silence.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		s.c.mu.Lock()
		n, err, ok := s.readLocked(p)
		deadline := s.readDeadline
		probing := s.impatient || !s.answered || !deadline.IsZero()
		s.c.mu.Unlock()
		if ok {
			return n, err
		}
		if err := s.waitReadable(deadline, probing); err != nil {
			return 0, err
		}
	}
}

// Await waits until Read would not, at most for d, and probes the circuit
// meanwhile.
func (s *Stream) Await(d time.Duration) error {
	deadline := s.c.now().Add(d)
	for {
		s.c.mu.Lock()
		_, err, ok := s.readLocked(nil)
		s.c.mu.Unlock()
		if err == io.EOF {
			return nil
		}
		if ok {
			return err
		}
		if err := s.waitReadable(deadline, true); err != nil {
			return err
		}
	}
}

// readLocked reads without waiting; ok is false if there is nothing yet.
func (s *Stream) readLocked(p []byte) (n int, err error, ok bool) {
	switch {
	case s.closed:
		return 0, ErrClosed, true
	case s.c.err != nil:
		return 0, s.c.deadErrorLocked(), true
	case s.err != nil:
		return 0, s.err, true
	case s.in.Len() > 0:
		n, _ = s.in.Read(p) // a non-empty buffer has no error
		return n, s.consumedLocked(n), true
	case s.remoteEnd:
		return 0, io.EOF, true
	}
	return 0, s.beginLocked(), false // who reads first still wants the stream
}

// consumedLocked acknowledges what was read (spec/circuit.md §4.5).
func (s *Stream) consumedLocked(n int) error {
	for range s.receive.Consumed(n) {
		if s.remoteEnd {
			return nil
		}
		if err := s.c.sendLocked(onion.StreamSendme(s.id)); err != nil {
			return err
		}
	}
	return nil
}

// waitReadable waits for a reason to look again.
func (s *Stream) waitReadable(deadline time.Time, probing bool) error {
	var expired, silent <-chan time.Time
	if !deadline.IsZero() {
		left := deadline.Sub(s.c.now())
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(left)
		defer t.Stop()
		expired = t.C
	}
	if probing {
		t := time.NewTicker(probeAfter)
		defer t.Stop()
		silent = t.C
	}
	for {
		select {
		case <-s.readable:
			return nil
		case <-s.c.done:
			return nil
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-silent:
			s.c.mu.Lock()
			s.c.probeLocked()
			s.c.mu.Unlock()
		}
	}
}

// Write queues p; it waits while the stream's windows hold back too much. The
// first Write opens the stream, together with what it writes.
func (s *Stream) Write(p []byte) (int, error) {
	written := 0
	for {
		s.c.mu.Lock()
		n, err := s.writeLocked(p[written:])
		deadline := s.writeDeadline
		s.c.mu.Unlock()
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
		if err := s.waitWritable(deadline); err != nil {
			return written, err
		}
	}
}

func (s *Stream) writeLocked(p []byte) (int, error) {
	switch {
	case s.closed || s.finished:
		return 0, ErrClosed
	case s.c.err != nil:
		return 0, s.c.deadErrorLocked()
	case s.err != nil:
		return 0, s.err
	}
	if err := s.beginLocked(); err != nil {
		return 0, err
	}
	n := min(len(p), maxOut-s.out.Len())
	s.out.Write(p[:n])
	s.queueLocked()
	return n, nil
}

func (s *Stream) waitWritable(deadline time.Time) error {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		left := deadline.Sub(s.c.now())
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(left)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-s.writable:
	case <-s.c.done:
	case <-expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// CloseWrite ends our direction after what was written; the other goes on.
func (s *Stream) CloseWrite() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.c.err != nil:
		return s.c.deadErrorLocked()
	case s.err != nil:
		return s.err
	case s.finished:
		return nil
	}
	s.finished = true
	if err := s.beginLocked(); err != nil {
		return err
	}
	s.finishLocked()
	return nil
}

// Close gives the stream up. What was written is still sent only if both
// directions were ended in order, by CloseWrite and by the other side.
func (s *Stream) Close() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.signalLocked()
	s.in = bytes.Buffer{}
	if s.c.err != nil || s.err != nil || s.remoteEnd && s.finished {
		return nil
	}
	s.out = bytes.Buffer{}
	delete(s.c.streams, s.id)
	s.c.streamGoneLocked()
	if !s.begun || s.ended && s.remoteEnd {
		return nil
	}
	s.ended = true
	return s.c.sendLocked(onion.End(s.id, endReset))
}

// SetReadDeadline bounds Read, one that waits already included. The zero time
// lifts the bound.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.readDeadline = t
	s.signalLocked()
	return nil
}

// SetWriteDeadline bounds Write.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.writeDeadline = t
	s.signalLocked()
	return nil
}

// SetDeadline bounds both.
func (s *Stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}
