package onion

import (
	"crypto/subtle"
	"errors"
	"fmt"
)

// The windows of a circuit, equal in both directions (spec/circuit.md §2).
const (
	// CircuitWindow is how many cells that hold DATA may be in flight between
	// the client and one hop: 577 KB of payload, a round trip's worth at 2 MB/s
	// and 250 ms, and the most that a circuit can make a relay hold.
	CircuitWindow = 512
	// CircuitStep is how many such cells one SENDME acknowledges.
	CircuitStep = 32
	// StreamWindow is how many bytes of one stream may be in flight. It is
	// close to the circuit's, so that a single stream can use all of it.
	StreamWindow = 512 << 10
	// StreamStep is how many bytes one SENDME of a stream acknowledges.
	StreamStep = 32 << 10
	// MaxStreams is how many streams one circuit may have open at once: more
	// than a client needs, few enough to bound what one circuit can occupy.
	MaxStreams = 64
)

// ErrWindow is returned for a SENDME that acknowledges nothing that was sent,
// and for data beyond a window. The circuit is to be destroyed.
var ErrWindow = errors.New("onion: window violated")

// SendWindow is the sender's account of a circuit's window in one direction.
// The zero value is ready.
type SendWindow struct {
	inFlight int
	marks    [CircuitWindow / CircuitStep]Tag // tags that SENDMEs must quote
	first    int                              // the oldest of them
	count    int                              // how many there are
	partial  int                              // cells since the last mark
}

// Room returns how many more cells that hold DATA may be sent.
func (w *SendWindow) Room() int { return CircuitWindow - w.inFlight }

// Sent counts a cell that holds DATA; there must have been Room for it.
func (w *SendWindow) Sent(tag Tag) {
	w.inFlight++
	if w.partial++; w.partial < CircuitStep {
		return
	}
	w.partial = 0
	w.marks[(w.first+w.count)%len(w.marks)] = tag
	w.count++
}

// Acknowledge takes a SENDME of the circuit: it must quote the tag of the cell
// that completed the oldest step, which only its reader can know.
func (w *SendWindow) Acknowledge(tag Tag) error {
	if w.count == 0 {
		return fmt.Errorf("%w: SENDME for nothing that was sent", ErrWindow)
	}
	if subtle.ConstantTimeCompare(w.marks[w.first][:], tag[:]) != 1 {
		return fmt.Errorf("%w: SENDME quotes another cell", ErrWindow)
	}
	w.first = (w.first + 1) % len(w.marks)
	w.count--
	w.inFlight -= CircuitStep
	return nil
}

// ReceiveWindow is the receiver's account of a circuit's window in one
// direction. The zero value is ready.
type ReceiveWindow struct{ partial int }

// Received counts a cell that held DATA and reports whether a SENDME that
// quotes its tag is due.
func (w *ReceiveWindow) Received() (due bool) {
	w.partial = (w.partial + 1) % CircuitStep
	return w.partial == 0
}

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
