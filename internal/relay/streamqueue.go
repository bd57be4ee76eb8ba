package relay

import (
	"sync"

	"sotto/internal/onion"
)

// chunkSize is how much of a stream's bytes one buffer of its queue holds.
const chunkSize = 32 << 10

// chunk is a run of bytes that wait for a service stream.
type chunk struct {
	n   int
	buf [chunkSize]byte
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// enqueue queues bytes of the client for the service stream.
func (s *stream) enqueue(p []byte) error {
	grown, err := s.enqueueLocking(p)
	if err != nil {
		return err
	}
	if grown > 0 && !s.c.account.add(grown) {
		s.c.relay.shed()
	}
	return nil
}

// enqueueLocking returns how many bytes more the queue takes up.
func (s *stream) enqueueLocking(p []byte) (grown int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return 0, errProtocol
	}
	if err := s.received.Received(len(p)); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		last := len(s.waiting) - 1
		if last < 0 || s.waiting[last].n == chunkSize {
			c := chunks.Get().(*chunk)
			c.n = 0
			s.waiting = append(s.waiting, c)
			last++
			grown += chunkSize
		}
		c := s.waiting[last]
		n := copy(c.buf[c.n:], p)
		c.n += n
		p = p[n:]
	}
	s.startLocked()
	return grown, nil
}

// finish ends the client's direction after what waits.
func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.startLocked()
}

// startLocked starts a writer if there is something for it to do.
func (s *stream) startLocked() {
	if s.service == nil || s.writing || s.aborted {
		return
	}
	if len(s.waiting) > 0 || s.finished && !s.ended {
		s.writing = s.c.spawn(s.drain)
	}
}

// drain writes what waits to the service stream, then ends when nothing does.
func (s *stream) drain() {
	for {
		c, broken := s.take()
		if c == nil {
			break
		}
		var err error
		if !broken {
			_, err = s.service.Write(c.buf[:c.n])
		}
		s.written(c, err)
	}
	s.mu.Lock()
	over := s.overLocked()
	s.mu.Unlock()
	if over {
		s.close()
	}
}

// take returns the next chunk; nil when the writer is to end, after it has
// ended the service's direction if that is due.
func (s *stream) take() (c *chunk, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		s.writing = false
		return nil, false
	}
	if len(s.waiting) > 0 {
		c = s.waiting[0]
		s.waiting[0] = nil
		if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
			s.waiting = nil
		}
		return c, s.broken
	}
	s.writing = false
	if s.finished && !s.ended {
		s.ended = true
		if half, ok := s.service.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // a failure shows in the other direction
		}
	}
	return nil, false
}

// written accounts for a chunk that left. A service that takes no more may
// still answer: its answer's end decides, and the client is not held up.
func (s *stream) written(c *chunk, err error) {
	n := c.n
	chunks.Put(c)
	s.c.account.add(-chunkSize)
	s.c.relay.metrics.bytesAway.Add(float64(n))
	s.mu.Lock()
	s.broken = s.broken || err != nil
	due := s.received.Consumed(n)
	s.mu.Unlock()
	for range due {
		s.c.tell(onion.StreamSendme(s.id))
	}
}
