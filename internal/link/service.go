package link

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/identity"
)

// ServiceConn is a connection for service streams between two nodes that know
// one another. The side that dialled opens streams, the other accepts them, and
// may go on with one of them in its own direction alone (spec/link.md §4.3).
type ServiceConn struct {
	conn  *quic.Conn
	peer  identity.NodeID
	tails *tails // of the side that dialled
}

// Peer returns the node at the other end.
func (s *ServiceConn) Peer() identity.NodeID { return s.peer }

// OpenStream opens a stream. The peer learns of it with the first bytes.
func (s *ServiceConn) OpenStream(ctx context.Context) (*ServiceStream, error) {
	str, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &ServiceStream{conn: s, str: str}, nil
}

// AcceptStream returns the next stream that the peer opened.
func (s *ServiceConn) AcceptStream(ctx context.Context) (*ServiceStream, error) {
	str, err := s.conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return &ServiceStream{conn: s, str: str}, nil
}

// Done is closed when the connection is dead.
func (s *ServiceConn) Done() <-chan struct{} { return s.conn.Context().Done() }

// Close closes the connection with everything on it, telling the peer.
func (s *ServiceConn) Close() error { return s.conn.CloseWithError(closeNormal, "") }

// ServiceStream is a byte stream in both directions.
type ServiceStream struct {
	conn *ServiceConn

	mu   sync.Mutex          // guards what follows
	str  *quic.Stream        // nil once it goes on as tail
	tail *quic.ReceiveStream // what the peer went on with
	over bool                // closed or aborted
}

// halves returns the stream as it stands.
func (s *ServiceStream) halves() (*quic.Stream, *quic.ReceiveStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.str, s.tail
}

// Read reads what has arrived; io.EOF after the peer's CloseWrite or Close.
// What the peer sends on a Tail follows without a seam.
func (s *ServiceStream) Read(p []byte) (int, error) {
	str, tail := s.halves()
	if tail == nil {
		n, err := str.Read(p)
		if !continued(err) {
			return n, streamError(err)
		}
		if tail, err = s.goOn(str); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
	n, err := tail.Read(p)
	return n, streamError(err)
}

// continued reports whether the peer ended its direction to go on with a tail.
func continued(err error) bool {
	var reset *quic.StreamError
	return errors.As(err, &reset) && reset.Remote && reset.ErrorCode == codeContinued
}

// goOn waits for the tail of a stream, and drops the stream itself.
func (s *ServiceStream) goOn(str *quic.Stream) (*quic.ReceiveStream, error) {
	if s.conn.tails == nil {
		return nil, errTail
	}
	tail, err := s.conn.tails.take(s.conn.conn.Context(), str.StreamID())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	str.CancelWrite(0)
	s.str, s.tail = nil, tail
	if s.over {
		tail.CancelRead(0)
	}
	return tail, nil
}

// Write writes p, waiting while the peer's window is full. A stream that goes on
// as a tail takes nothing more.
func (s *ServiceStream) Write(p []byte) (int, error) {
	str, _ := s.halves()
	if str == nil {
		return 0, io.ErrClosedPipe
	}
	n, err := str.Write(p)
	return n, streamError(err)
}

// CloseWrite ends our direction after what was written. Not concurrent with
// Write.
func (s *ServiceStream) CloseWrite() error {
	str, _ := s.halves()
	if str == nil {
		return nil
	}
	return str.Close()
}

// CloseRead refuses what the peer may still send, beside any other call; a Read
// that waits returns.
func (s *ServiceStream) CloseRead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeReadLocked()
}

func (s *ServiceStream) closeReadLocked() {
	s.over = true
	if s.tail != nil {
		s.tail.CancelRead(0)
		return
	}
	s.str.CancelRead(0)
}

// Close ends our direction after what was written, and refuses what the peer
// may still send. Not concurrent with Write; Abort is.
func (s *ServiceStream) Close() error {
	s.CloseRead()
	return s.CloseWrite()
}

// Abort resets both directions; blocked calls return.
func (s *ServiceStream) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeReadLocked()
	if s.str != nil {
		s.str.CancelWrite(0)
	}
}

// Continue ends the stream of a peer that dialled in both directions, and opens
// a tail that the peer reads as if it were the rest of it. All that was written
// before must have been read. The peer's own direction has no rest.
func (s *ServiceStream) Continue() (*Tail, error) {
	str, _ := s.halves()
	out, err := s.conn.conn.OpenUniStream()
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(appendTailHead(nil, str.StreamID())); err != nil {
		out.CancelWrite(0)
		return nil, streamError(err)
	}
	str.CancelRead(codeContinued)
	str.CancelWrite(codeContinued)
	return &Tail{str: out}, nil
}

// SetDeadline bounds Read and Write, as long as the stream has no tail.
func (s *ServiceStream) SetDeadline(t time.Time) error {
	if str, _ := s.halves(); str != nil {
		return str.SetDeadline(t)
	}
	return nil
}
