package onion

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
)

// The windows of a circuit, equal in both directions (spec/circuit.md §2).
const (
	// CircuitStep is how many cells that hold DATA one SENDME acknowledges. The
	// windows below are multiples of it.
	CircuitStep = 32
	// StartWindow is how many such cells may be in flight between the client and
	// one hop before the first SENDME: four steps, so that a short exchange
	// needs none.
	StartWindow = 4 * CircuitStep
	// MinWindow is the least that congestion control leaves: twice a step, so
	// that a step is always completed and no circuit falls silent.
	MinWindow = 2 * CircuitStep
	// MaxWindow is the most: 1.15 MB, a round trip's worth at 4.6 MB/s and
	// 250 ms. It bounds what a circuit can make relays hold.
	MaxWindow = 32 * CircuitStep
	// StreamWindow is how many bytes of one stream may be in flight. It is what
	// MaxWindow cells carry, what waits to be acknowledged and some more, so
	// that a single stream can use the whole circuit.
	StreamWindow = 40 * StreamStep
	// StreamStep is how many bytes one SENDME of a stream acknowledges.
	StreamStep = 32 << 10
	// MaxStreams is how many streams one circuit may have open at once: more
	// than a client needs, few enough to bound what one circuit can occupy.
	MaxStreams = 64
)

// ErrWindow is returned for a SENDME that acknowledges nothing that was sent,
// and for data beyond a window. The circuit is to be destroyed.
var ErrWindow = errors.New("onion: window violated")

// SendWindow is the sender's account of a circuit's window in one direction,
// and decides how large that window is (spec/circuit.md §4.5). The zero value
// is ready.
type SendWindow struct {
	congestion congestion
	inFlight   int
	marks      *marks // nil before the first step is complete
	partial    int    // cells since the last mark
}

// marks are the cells that completed a step and are not yet acknowledged, as
// many as fit into the largest window.
type marks struct {
	ring  [MaxWindow / CircuitStep]mark
	first int // the oldest
	count int
}

type mark struct {
	tag  Tag // that a SENDME must quote
	sent time.Time
}

// Window returns how many cells that hold DATA may be in flight now.
func (w *SendWindow) Window() int { return w.congestion.window() }

// Room returns how many more cells that hold DATA may be sent.
func (w *SendWindow) Room() int { return max(w.Window()-w.inFlight, 0) }

// Sent counts a cell that holds DATA and leaves now; there must have been Room
// for it.
func (w *SendWindow) Sent(tag Tag, now time.Time) {
	w.inFlight++
	if w.partial++; w.partial < CircuitStep {
		return
	}
	w.partial = 0
	if w.marks == nil {
		w.marks = new(marks)
	}
	m := w.marks
	m.ring[(m.first+m.count)%len(m.ring)] = mark{tag, now}
	m.count++
}

// Acknowledge takes a SENDME of the circuit that has arrived now: it must quote
// the tag of the cell that completed the oldest step, which only its reader can
// know.
func (w *SendWindow) Acknowledge(tag Tag, now time.Time) error {
	m := w.marks
	if m == nil || m.count == 0 {
		return fmt.Errorf("%w: SENDME for nothing that was sent", ErrWindow)
	}
	oldest := m.ring[m.first]
	if subtle.ConstantTimeCompare(oldest.tag[:], tag[:]) != 1 {
		return fmt.Errorf("%w: SENDME quotes another cell", ErrWindow)
	}
	m.first = (m.first + 1) % len(m.ring)
	m.count--
	w.congestion.acknowledged(oldest.sent, now, w.inFlight)
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
