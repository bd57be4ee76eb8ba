package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

// The first byte of a stream (spec/swarm.md §4.2). The exit writes it, never
// the client behind it.
const (
	StreamClient    byte = 'C'
	StreamPeer      byte = 'P'
	StreamDirectory byte = 'D'
)

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
// the member closes. It closes rwc; a stream that may not be closed during a
// Write (link.ServiceStream) has a method Abort, which ends both at any time.
func (s *Swarm) ServeStream(ctx context.Context, from identity.NodeID, rwc io.ReadWriteCloser) error {
	if err := s.admit(rwc); err != nil {
		_ = rwc.Close()
		return err
	}
	defer s.release(rwc)
	stop := context.AfterFunc(ctx, func() { cut(rwc) })
	defer stop()
	w := newWatch(rwc, streamIdle)
	defer w.stop()
	var first [1]byte
	if _, err := io.ReadFull(rwc, first[:]); err != nil {
		return fmt.Errorf("swarm: read stream: %w", err)
	}
	switch first[0] {
	case StreamClient:
		return ended((&clientStream{s: s, rwc: rwc, watch: w}).serve())
	case StreamPeer:
		return ended(s.servePeer(from, rwc, w))
	case StreamDirectory:
		if s.cfg.ServeDirectory != nil {
			return ended(s.cfg.ServeDirectory(from, rwc))
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

// clientStream is a stream of sealed requests, answered one after the other.
type clientStream struct {
	s     *Swarm
	rwc   io.ReadWriteCloser
	watch *watch
}

func (c *clientStream) serve() error {
	for range maxStreamRequests {
		c.watch.within(streamIdle)
		frame, err := wire.ReadFrame(c.rwc, maxRequestFrame)
		if err != nil {
			return err
		}
		c.watch.stop()
		typ, err := mailbox.FrameType(frame)
		if err != nil {
			return err
		}
		switch typ {
		case mailbox.FrameKeys:
			err = c.sendKeys()
		case mailbox.FrameSealed:
			err = c.sealed(frame)
		default:
			err = fmt.Errorf("frame of type %d: %w", typ, mailbox.ErrFormat)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends one frame, and cuts the stream when it is not taken.
func (c *clientStream) write(frame []byte) error {
	c.watch.within(c.s.stall)
	defer c.watch.stop()
	return wire.WriteFrame(c.rwc, frame)
}

func (c *clientStream) sendKeys() error {
	cert, err := c.s.keys.current(c.s.cfg.Now())
	if err != nil {
		return err
	}
	return c.write(mailbox.KeysReply(cert))
}

// sealed answers one sealed request. A request to a key that is gone is
// answered with the certificate of the one that counts, in plain.
func (c *clientStream) sealed(frame []byte) error {
	got, sealer, err := c.open(frame)
	if errors.Is(err, mailbox.ErrUnknownKey) || errors.Is(err, mailbox.ErrOpen) {
		c.s.metrics.request("sealed", err)
		return c.sendKeys()
	}
	if err != nil {
		return err
	}
	if sub, ok := got.Request.(*mailbox.Subscribe); ok {
		return c.subscribe(sub, got.Stamp, sealer)
	}
	resp, err := c.s.answer(got)
	if err != nil {
		resp = refusal(err)
	}
	return c.reply(sealer, resp)
}

// open takes a slot for the costly part, so that the streams of many clients
// wait for one another instead of for the machine.
func (c *clientStream) open(frame []byte) (*mailbox.Received, *mailbox.ReplySealer, error) {
	select {
	case c.s.slots <- struct{}{}:
		defer func() { <-c.s.slots }()
	case <-c.s.ctx.Done():
		return nil, nil, ErrClosed
	}
	return c.s.keys.open(frame)
}

func (c *clientStream) reply(sealer *mailbox.ReplySealer, resp mailbox.Response) error {
	frame, err := sealer.Seal(resp)
	if err != nil {
		return err
	}
	return c.write(frame)
}

func refusal(err error) *mailbox.Failure {
	f := mailbox.Refuse(err)
	switch f.Code {
	case mailbox.CodeBusy, mailbox.CodeUnavailable, mailbox.CodeInternal:
		f.RetryAfter = retryAfter
	}
	return f
}
