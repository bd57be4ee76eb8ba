package swarm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

// clientStream is a stream of sealed requests, answered one after the other. It
// is read on while an answer waits to be taken: what lay unread would take the
// window of the exit's whole connection, which all its clients share. What is
// read and not answered is bounded instead (spec/swarm.md §5.2).
type clientStream struct {
	s      *Swarm
	exit   identity.NodeID // that brought it
	stream Stream
	idle   *watch // runs while nothing is to be answered
	stall  *watch // runs during writes

	// mu guards what follows.
	mu        sync.Mutex
	waiting   [][]byte // frames behind the one in work
	held      int      // bytes of both
	answering bool     // a goroutine answers
	over      bool     // nothing more is read or answered
	err       error    // why

	wg sync.WaitGroup // the answering goroutine

	asked *subscribing // a challenge waits for its proof; the answerer's
}

var errUnanswered = fmt.Errorf("%w: requests that wait for an answer", ErrTooMany)

func newClientStream(s *Swarm, exit identity.NodeID, stream Stream, idle *watch) *clientStream {
	c := &clientStream{s: s, exit: exit, stream: stream, idle: idle, stall: newWatch(stream, streamIdle)}
	c.stall.stop()
	return c
}

// serve reads the stream until it ends, and returns when all is answered.
func (c *clientStream) serve() error {
	err := c.read()
	if ended(err) != nil {
		c.fail(err)
	}
	c.wg.Wait()
	c.idle.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.ahead.give(c.exit, c.held)
	if c.over {
		err = c.err
	}
	return err
}

func (c *clientStream) read() error {
	c.idle.within(streamIdle)
	for range maxStreamRequests {
		frame, err := wire.ReadFrame(c.stream, maxRequestFrame)
		if err != nil {
			return err
		}
		if err := c.take(frame); err != nil {
			return err
		}
	}
	return nil
}

// take has a frame answered after those before it.
func (c *clientStream) take(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return c.err
	}
	if c.held+len(frame) > maxUnanswered || !c.s.ahead.take(c.exit, len(frame)) {
		return errUnanswered
	}
	c.held += len(frame)
	c.waiting = append(c.waiting, frame)
	if !c.answering {
		c.answering = true
		c.idle.stop()
		c.wg.Go(c.answer)
	}
	return nil
}

// answer answers what waits, and ends when nothing does.
func (c *clientStream) answer() {
	for frame := c.next(0); frame != nil; frame = c.next(len(frame)) {
		if err := c.handle(frame); err != nil {
			c.end(err)
		}
	}
}

// next gives back what a frame took that is done, and returns the one behind it.
func (c *clientStream) next(done int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held -= done
	c.s.ahead.give(c.exit, done)
	if c.over || len(c.waiting) == 0 {
		c.answering = false
		if !c.over {
			c.idle.within(c.patience())
		}
		return nil
	}
	frame := c.waiting[0]
	c.waiting[0] = nil
	if c.waiting = c.waiting[1:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	return frame
}

// end ends the stream, after what has been written: nothing more is read, and
// so its reader returns.
func (c *clientStream) end(err error) {
	c.endOnce(err)
	c.stream.CloseRead()
}

// fail is end for a stream that is dead or breaks the rules: answers that wait
// are dropped.
func (c *clientStream) fail(err error) {
	if c.endOnce(err) {
		c.stream.Abort()
	}
}

func (c *clientStream) endOnce(err error) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.over, c.err = true, err
	return true
}

func (c *clientStream) handle(frame []byte) error {
	if c.asked != nil {
		return c.proved(frame)
	}
	typ, err := mailbox.FrameType(frame)
	if err != nil {
		return err
	}
	switch typ {
	case mailbox.FrameKeys:
		return c.sendKeys()
	case mailbox.FrameSealed:
		return c.sealed(frame)
	default:
		return fmt.Errorf("frame of type %d: %w", typ, mailbox.ErrFormat)
	}
}

// write sends one frame, and cuts the stream when it is not taken.
func (c *clientStream) write(frame []byte) error {
	c.stall.within(c.s.stall)
	defer c.stall.stop()
	return wire.WriteFrame(c.stream, frame)
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
	leave, err := c.s.gate.enter(c.s.ctx, c.exit, len(frame))
	if err != nil {
		c.s.metrics.request("sealed", err)
		return c.write(mailbox.BusyReply(retrySeconds()))
	}
	defer leave()
	got, sealer, err := c.s.keys.open(frame)
	if errors.Is(err, mailbox.ErrUnknownKey) || errors.Is(err, mailbox.ErrOpen) {
		c.s.metrics.request("sealed", err)
		return c.sendKeys()
	}
	if err != nil {
		return err
	}
	if req, ok := got.Request.(*mailbox.Subscribe); ok {
		leave()
		return c.challenge(&subscribing{req: req, stamp: got.Stamp, sealer: sealer})
	}
	resp, err := c.s.answer(got)
	leave()
	if err != nil {
		resp = refusal(err)
	}
	n := bulk(resp)
	if n > 0 && !c.s.replies.take(c.exit, n) {
		n, resp = 0, refusal(mailbox.ErrBusy)
	}
	defer c.s.replies.give(c.exit, n)
	return c.reply(sealer, resp)
}

// bulk returns the bytes of a response that may be large.
func bulk(resp mailbox.Response) (n int) {
	switch r := resp.(type) {
	case *mailbox.Batch:
		for _, item := range r.Items {
			n += len(item.Envelope)
		}
	case *mailbox.DirectoryReply:
		n = len(r.Signed)
	}
	return n
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
		f.RetryAfter = retrySeconds()
	}
	return f
}

// retrySeconds is for how long a client that is refused should stay away.
func retrySeconds() uint32 { return retryAfter + rand.Uint32N(retryAfter+1) }
