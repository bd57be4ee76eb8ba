package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sotto/internal/identity"
)

// The first byte of a stream (spec/swarm.md §4.2). The exit writes it, never
// the client behind it.
const (
	StreamClient    byte = 'C'
	StreamPeer      byte = 'P'
	StreamDirectory byte = 'D'
)

// Stream is a stream that another node opened.
type Stream interface {
	io.ReadWriteCloser
	// Abort ends both directions at once, beside any other call.
	Abort()
	// CloseRead refuses what the peer may still send; a Read returns at once.
	CloseRead()
	// Continue ends the stream and goes on with it in our direction alone. What
	// was written before must have been read.
	Continue() (Tail, error)
}

// Tail is the rest of a Stream on which nothing comes back.
type Tail interface {
	io.Writer
	// Abort ends the tail at once, beside a Write.
	Abort()
	// Ended reports whether nothing that is written will arrive any more: the
	// peer refuses it, the connection is dead, or Abort was called.
	Ended() bool
}

// OpenClientStream opens a stream on which a client's frames may follow. Exits
// use it: the byte that it writes keeps a client from posing as a member.
func OpenClientStream(ctx context.Context, d PeerDialer, node identity.NodeID) (io.ReadWriteCloser, error) {
	rwc, err := d.OpenStream(ctx, node)
	if err != nil {
		return nil, err
	}
	if _, err := rwc.Write([]byte{StreamClient}); err != nil {
		_ = rwc.Close()
		return nil, fmt.Errorf("swarm: open stream: %w", err)
	}
	return rwc, nil
}

// ServeStream serves a stream that node from opened, until it ends, ctx does or
// the member closes, and closes it. The tail of a stream that has become a
// subscription is the member's until it ends or the member closes.
func (s *Swarm) ServeStream(ctx context.Context, from identity.NodeID, stream Stream) error {
	if err := s.admit(from, stream); err != nil {
		_ = stream.Close()
		return err
	}
	defer s.release(from, stream)
	stop := context.AfterFunc(ctx, stream.Abort)
	defer stop()
	w := newWatch(stream, firstByte)
	defer w.stop()
	var first [1]byte
	if _, err := io.ReadFull(stream, first[:]); err != nil {
		return fmt.Errorf("swarm: read stream: %w", err)
	}
	w.within(streamIdle)
	switch first[0] {
	case StreamClient:
		return ended(newClientStream(s, from, stream, w).serve())
	case StreamPeer:
		return ended(s.servePeer(from, stream, w))
	case StreamDirectory:
		if s.cfg.ServeDirectory != nil {
			return ended(s.cfg.ServeDirectory(from, stream))
		}
		return ErrStream
	default:
		return ErrStream
	}
}

// ended makes nothing of a stream that its other end closed.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// cut ends a stream at once, whatever is being read or written on it.
func cut(c io.Closer) {
	if a, ok := c.(interface{ Abort() }); ok {
		a.Abort()
		return
	}
	_ = c.Close()
}

// watch cuts a stream on which something takes too long.
type watch struct {
	c io.Closer
	t *time.Timer
}

func newWatch(c io.Closer, d time.Duration) *watch {
	return &watch{c: c, t: time.AfterFunc(d, func() { cut(c) })}
}

func (w *watch) within(d time.Duration) { w.t.Reset(d) }

func (w *watch) stop() { w.t.Stop() }
