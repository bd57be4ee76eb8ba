package relay

import (
	"context"
	"io"
	"sync"

	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// The buffers that a service stream is read into: a small one while it is
// quiet, so that a thousand idle subscriptions cost little, and one of a
// batch's worth while it is not.
const (
	quietRead = onion.MaxData
	busyRead  = link.BatchCells * onion.MaxData
)

var readBuffers = sync.Pool{New: func() any { return new([busyRead]byte) }}

// stream is one exit stream (spec/circuit.md §4.6).
type stream struct {
	c      *circuit
	id     uint16
	target identity.NodeID
	ctx    context.Context // of opening; done when the stream is aborted
	cancel context.CancelFunc

	sent onion.StreamSendWindow // guarded by sender.mu
	over bool                   // guarded by sender.mu: nothing more is sent

	mu       sync.Mutex // guards what follows
	service  io.ReadWriteCloser
	waiting  []*chunk
	received onion.StreamReceiveWindow
	finished bool // the client has no more data
	ended    bool // the service's direction was ended by us
	broken   bool // the service takes no more data
	writing  bool
	readDone bool // the service has no more data
	closed   bool // both directions ended in order
	aborted  bool
}

func newStream(c *circuit, id uint16, target identity.NodeID) *stream {
	s := &stream{c: c, id: id, target: target}
	s.ctx, s.cancel = context.WithCancel(c.ctx)
	return s
}

// run opens the service stream and copies from it to the client.
func (s *stream) run() {
	defer s.c.relay.metrics.streams.Dec()
	defer s.c.relay.targets.leave(s)
	defer s.cancel()
	ctx, cancel := context.WithTimeout(s.ctx, s.c.relay.limits.BeginTimeout)
	service, err := s.c.relay.cfg.Exit.OpenStream(ctx, s.target)
	cancel()
	if err != nil {
		why := onion.ReasonUnreachable
		if ctx.Err() == context.DeadlineExceeded {
			why = onion.ReasonTimeout
		}
		s.fail(why)
		return
	}
	if !s.connected(service) {
		abortService(service)
		return
	}
	s.c.tell(onion.Connected(s.id))
	if err := s.copyToClient(service); err != nil {
		s.fail(onion.ReasonLinkLost)
		return
	}
	s.c.tell(onion.End(s.id, onion.ReasonDone))
	s.mu.Lock()
	s.readDone = true
	over := s.overLocked()
	s.mu.Unlock()
	if over {
		s.close()
	}
}

// connected takes the open service stream and starts to write what waits.
func (s *stream) connected(service io.ReadWriteCloser) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return false
	}
	s.service = service
	s.startLocked()
	return true
}

// copyToClient reads the service stream to its end; nil means an orderly one.
func (s *stream) copyToClient(service io.Reader) error {
	small := make([]byte, quietRead)
	busy := false
	for {
		room, err := s.c.sender.streamRoom(s)
		if err != nil {
			return err
		}
		n := 0
		if busy {
			n, err = s.copyBusy(service, room)
			busy = n > quietRead
		} else {
			n, err = s.copyOnce(service, small[:min(room, len(small))])
			busy = n == quietRead
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *stream) copyBusy(service io.Reader, room int) (int, error) {
	buf := readBuffers.Get().(*[busyRead]byte)
	defer readBuffers.Put(buf)
	return s.copyOnce(service, buf[:min(room, busyRead)])
}

func (s *stream) copyOnce(service io.Reader, buf []byte) (int, error) {
	n, err := service.Read(buf)
	if n > 0 {
		s.c.relay.metrics.bytesToward.Add(float64(n))
		if err := s.c.sender.data(s, buf[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// overLocked reports once that both directions have ended.
func (s *stream) overLocked() bool {
	if !s.readDone || !s.ended || s.aborted || s.closed {
		return false
	}
	s.closed = true
	return true
}

// close ends a stream that is over in both directions.
func (s *stream) close() {
	s.c.forget(s)
	_ = s.service.Close()
}

// fail tells the client that the stream is over, and drops it.
func (s *stream) fail(why onion.Reason) {
	s.mu.Lock()
	aborted := s.aborted
	s.mu.Unlock()
	if aborted {
		return
	}
	s.c.forget(s)
	s.c.tell(onion.End(s.id, why))
	s.abort()
}

// abort drops the stream in both directions and tells nobody.
func (s *stream) abort() {
	s.mu.Lock()
	if s.aborted {
		s.mu.Unlock()
		return
	}
	s.aborted = true
	service := s.service
	held := 0
	for _, c := range s.waiting {
		held += chunkSize
		chunks.Put(c)
	}
	s.waiting = nil
	s.mu.Unlock()
	s.c.account.add(-held)
	s.cancel()
	s.c.sender.endStream(s)
	if service != nil {
		abortService(service)
	}
}

// abortService makes every call on a service stream return.
func abortService(service io.ReadWriteCloser) {
	if a, ok := service.(interface{ Abort() }); ok {
		a.Abort()
		return
	}
	_ = service.Close()
}
