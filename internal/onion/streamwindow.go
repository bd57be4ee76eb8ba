package onion

import "fmt"

// StreamSendWindow is the sender's account of one stream's window, in bytes.
// The zero value is ready.
type StreamSendWindow struct{ inFlight int }

// Room returns how many more bytes may be sent.
func (w *StreamSendWindow) Room() int { return StreamWindow - w.inFlight }

// Sent counts n bytes; there must have been Room for them.
func (w *StreamSendWindow) Sent(n int) { w.inFlight += n }

// Acknowledge takes a SENDME of the stream.
func (w *StreamSendWindow) Acknowledge() error {
	if w.inFlight < StreamStep {
		return fmt.Errorf("%w: SENDME of a stream for nothing that was sent", ErrWindow)
	}
	w.inFlight -= StreamStep
	return nil
}

// StreamReceiveWindow is the receiver's account of one stream's window. The
// zero value is ready.
type StreamReceiveWindow struct {
	held     int // received and not consumed
	consumed int // consumed and not acknowledged
}

// Received counts n bytes that arrived; ErrWindow if the sender was not
// allowed to send them.
func (w *StreamReceiveWindow) Received(n int) error {
	if w.held+w.consumed+n > StreamWindow {
		return fmt.Errorf("%w: stream data beyond it", ErrWindow)
	}
	w.held += n
	return nil
}

// Consumed counts n bytes that left for their reader, and returns how many
// SENDMEs of the stream are due.
func (w *StreamReceiveWindow) Consumed(n int) (due int) {
	w.held -= n
	w.consumed += n
	due = w.consumed / StreamStep
	w.consumed -= due * StreamStep
	return due
}
