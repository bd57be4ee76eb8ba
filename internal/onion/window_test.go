package onion

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// epoch is when tests of windows begin.
var epoch = time.Unix(1_700_000_000, 0)

// cellTag is the tag of cell n in tests of windows.
func cellTag(n int) (t Tag) {
	binary.BigEndian.PutUint64(t[TagSize-8:], uint64(n))
	return t
}

func TestSendWindowTakesSteps(t *testing.T) {
	var w SendWindow
	for i := 1; i <= StartWindow; i++ {
		w.Sent(cellTag(i), epoch)
	}
	if w.Room() != 0 {
		t.Fatalf("room for %d after a full window", w.Room())
	}
	for name, wrong := range map[string]Tag{
		"a later step":           cellTag(2 * CircuitStep),
		"a cell within the step": cellTag(CircuitStep - 1),
		"no cell":                {},
	} {
		if err := w.Acknowledge(wrong, epoch); !errors.Is(err, ErrWindow) {
			t.Fatalf("SENDME for %s: got %v, want ErrWindow", name, err)
		}
	}
	for i := 1; i <= StartWindow/CircuitStep; i++ {
		if err := w.Acknowledge(cellTag(i*CircuitStep), epoch); err != nil {
			t.Fatal(err)
		}
		if err := w.Acknowledge(cellTag(i*CircuitStep), epoch); !errors.Is(err, ErrWindow) {
			t.Fatalf("the same SENDME again: got %v, want ErrWindow", err)
		}
	}
	if w.Room() != w.Window() {
		t.Fatalf("room for %d of %d after all was acknowledged", w.Room(), w.Window())
	}
	for i := range CircuitStep - 1 {
		w.Sent(cellTag(i), epoch)
		if err := w.Acknowledge(cellTag(i), epoch); !errors.Is(err, ErrWindow) {
			t.Fatalf("SENDME before the step is complete: got %v, want ErrWindow", err)
		}
	}
}

// Whatever the order of sending and acknowledging, sender and receiver agree
// on every step, and no cell leaves beyond the window.
func TestWindowsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var send SendWindow
		var receive ReceiveWindow
		var flying, acks []Tag
		n, now := 0, epoch
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				for range send.Room() {
					n++
					flying = append(flying, cellTag(n))
					send.Sent(cellTag(n), now)
					if send.inFlight > send.Window() {
						t.Fatal("a cell left beyond the window")
					}
				}
			case 1:
				for range min(len(flying), CircuitStep) {
					if receive.Received() {
						acks = append(acks, flying[0])
					}
					flying = flying[1:]
				}
			case 2:
				if len(acks) > 0 {
					if err := send.Acknowledge(acks[0], now); err != nil {
						t.Fatal(err)
					}
					acks = acks[1:]
				}
			case 3:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "later")))
			}
			if w := send.Window(); w < MinWindow || w > MaxWindow || send.Room() < 0 || send.inFlight > MaxWindow {
				t.Fatalf("window %d, %d in flight, room %d", w, send.inFlight, send.Room())
			}
		}
	})
}

// FuzzSendWindow drives a window with arbitrary operations. Each takes two
// bytes: what, and how much.
func FuzzSendWindow(f *testing.F) {
	f.Add([]byte{0, 255, 1, 20, 2, 0, 2, 0, 0, 200, 1, 200, 2, 0})
	f.Add([]byte{0, 255, 2, 0, 2, 1, 2, 0, 3, 5, 1, 255, 2, 0})
	f.Add([]byte{0, 40, 1, 1, 2, 0, 2, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var w SendWindow
		sent, acked, now := 0, 0, epoch
		for ; len(ops) >= 2; ops = ops[2:] {
			much := int(ops[1])
			switch ops[0] % 4 {
			case 0:
				for range min(much, w.Room()) {
					sent++
					w.Sent(cellTag(sent), now)
				}
			case 1: // up to 146 years, or back as far
				later := time.Duration(1) << (much % 63)
				if much >= 252 {
					later = -later
				}
				now = now.Add(later)
			case 2:
				err := w.Acknowledge(cellTag(acked+CircuitStep), now)
				if due := sent >= acked+CircuitStep; (err == nil) != due {
					t.Fatalf("due: %v, got %v", due, err)
				}
				if err == nil {
					acked += CircuitStep
				}
			case 3: // a wrong one changes nothing
				before := w
				err := w.Acknowledge(cellTag(acked+CircuitStep+1+much), now)
				if !errors.Is(err, ErrWindow) || w != before {
					t.Fatalf("a wrong tag: got %v", err)
				}
			}
			if n := w.Window(); n < MinWindow || n > MaxWindow || w.Room() < 0 || w.Room() > MaxWindow {
				t.Fatalf("window %d, room %d", n, w.Room())
			}
			if w.inFlight != sent-acked || w.inFlight > MaxWindow {
				t.Fatalf("%d in flight of %d sent and %d acknowledged", w.inFlight, sent, acked)
			}
		}
	})
}

func TestStreamWindow(t *testing.T) {
	var send StreamSendWindow
	var receive StreamReceiveWindow
	send.Sent(StreamWindow)
	if send.Room() != 0 {
		t.Fatal("room after a full window")
	}
	if err := receive.Received(StreamWindow); err != nil {
		t.Fatal(err)
	}
	if err := receive.Received(1); !errors.Is(err, ErrWindow) {
		t.Fatalf("byte beyond the window: got %v, want ErrWindow", err)
	}
	due := receive.Consumed(StreamStep - 1)
	if due != 0 {
		t.Fatalf("%d SENDMEs due before a step", due)
	}
	due = receive.Consumed(StreamWindow - StreamStep + 1)
	if due != StreamWindow/StreamStep {
		t.Fatalf("%d SENDMEs due for a window", due)
	}
	for range due {
		if err := send.Acknowledge(); err != nil {
			t.Fatal(err)
		}
	}
	if err := send.Acknowledge(); !errors.Is(err, ErrWindow) {
		t.Fatalf("SENDME for nothing: got %v, want ErrWindow", err)
	}
}

// One stream can use the whole circuit: all that the largest window carries is
// less than its own window, less what may wait to be acknowledged.
func TestStreamUsesTheWholeCircuit(t *testing.T) {
	if MaxWindow*MaxData > StreamWindow-StreamStep {
		t.Fatalf("a circuit carries %d bytes at once, a stream %d", MaxWindow*MaxData, StreamWindow-StreamStep)
	}
}
