package circuit

import (
	"bytes"

	"sotto/internal/onion"
)

// The rest of a Stream: what its circuit's two goroutines do to it. All of it
// under circuit.mu.

// signalLocked makes Read and Write look again.
func (s *Stream) signalLocked() {
	for _, ch := range []chan struct{}{s.readable, s.writable} {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// beginLocked queues BEGIN, once. What is written next shares its cell.
func (s *Stream) beginLocked() error {
	if s.begun {
		return nil
	}
	s.begun = true
	return s.c.sendLocked(onion.Begin(s.id, s.target))
}

// queueLocked puts the stream in line if it has something that may be sent.
func (s *Stream) queueLocked() {
	if s.queued || s.out.Len() == 0 || s.send.Room() == 0 {
		return
	}
	s.queued = true
	s.c.ready = append(s.c.ready, s)
	s.c.wakeWriter()
}

// sentLocked counts n bytes that left, and makes room for more.
func (s *Stream) sentLocked(n int) {
	s.send.Sent(n)
	select {
	case s.writable <- struct{}{}:
	default:
	}
}

// finishLocked sends END once all is sent after CloseWrite.
func (s *Stream) finishLocked() {
	if !s.finished || s.ended || s.out.Len() > 0 {
		return
	}
	s.ended = true
	// END is a few bytes, at most one per stream: the packer has room.
	_ = s.c.sendLocked(onion.End(s.id, onion.ReasonDone))
	s.removeLocked()
}

// removeLocked forgets a stream that both sides have ended.
func (s *Stream) removeLocked() {
	if s.ended && s.remoteEnd {
		delete(s.c.streams, s.id)
		s.c.streamGoneLocked()
	}
}

func (s *Stream) connectedLocked() error {
	if s.connected || !s.begun {
		return errUnexpected
	}
	s.connected = true
	return nil
}

func (s *Stream) dataLocked(p []byte) error {
	if !s.connected || s.remoteEnd {
		return errUnexpected
	}
	if err := s.receive.Received(len(p)); err != nil {
		return err
	}
	if s.closed {
		return nil
	}
	s.answered = true
	s.in.Write(p)
	s.signalLocked()
	return nil
}

func (s *Stream) endedLocked(why onion.Reason) error {
	if !s.begun || s.remoteEnd && why == onion.ReasonDone {
		return errUnexpected
	}
	s.remoteEnd = true
	if why != onion.ReasonDone {
		s.err = &StreamError{why}
		s.out, s.ended = bytes.Buffer{}, true
	}
	s.removeLocked()
	s.signalLocked()
	return nil
}

func (s *Stream) acknowledgedLocked() error {
	if err := s.send.Acknowledge(); err != nil {
		return err
	}
	s.queueLocked()
	return nil
}
