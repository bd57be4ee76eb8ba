package link

import (
	"context"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/identity"
)

// ServiceConn is a connection for service streams between two nodes that know
// one another. The side that dialled opens streams, the other accepts them.
type ServiceConn struct {
	conn *quic.Conn
	peer identity.NodeID
}

// Peer returns the node at the other end.
func (s *ServiceConn) Peer() identity.NodeID { return s.peer }

// OpenStream opens a stream. The peer learns of it with the first bytes.
func (s *ServiceConn) OpenStream(ctx context.Context) (*ServiceStream, error) {
	str, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &ServiceStream{str: str}, nil
}

// AcceptStream returns the next stream that the peer opened.
func (s *ServiceConn) AcceptStream(ctx context.Context) (*ServiceStream, error) {
	str, err := s.conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return &ServiceStream{str: str}, nil
}

// Done is closed when the connection is dead.
func (s *ServiceConn) Done() <-chan struct{} { return s.conn.Context().Done() }

// Close closes the connection with everything on it, telling the peer.
func (s *ServiceConn) Close() error { return s.conn.CloseWithError(closeNormal, "") }

// ServiceStream is a byte stream in both directions.
type ServiceStream struct {
	str *quic.Stream
}

// Read reads what has arrived; io.EOF after the peer's CloseWrite or Close.
func (s *ServiceStream) Read(p []byte) (int, error) {
	n, err := s.str.Read(p)
	return n, streamError(err)
}

// Write writes p, waiting while the peer's window is full.
func (s *ServiceStream) Write(p []byte) (int, error) {
	n, err := s.str.Write(p)
	return n, streamError(err)
}

// CloseWrite ends our direction after what was written. Not concurrent with
// Write.
func (s *ServiceStream) CloseWrite() error { return s.str.Close() }

// Close ends our direction after what was written, and refuses what the peer
// may still send. Not concurrent with Write; Abort is.
func (s *ServiceStream) Close() error {
	s.str.CancelRead(0)
	return s.str.Close()
}

// Abort resets both directions; blocked calls return.
func (s *ServiceStream) Abort() {
	s.str.CancelRead(0)
	s.str.CancelWrite(0)
}

// SetDeadline bounds Read and Write.
func (s *ServiceStream) SetDeadline(t time.Time) error { return s.str.SetDeadline(t) }

// SetReadDeadline bounds Read.
func (s *ServiceStream) SetReadDeadline(t time.Time) error { return s.str.SetReadDeadline(t) }

// SetWriteDeadline bounds Write.
func (s *ServiceStream) SetWriteDeadline(t time.Time) error { return s.str.SetWriteDeadline(t) }
