package onion

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestSendWindowTakesSteps(t *testing.T) {
	var w SendWindow
	tag := func(i int) Tag { return Tag{byte(i), byte(i >> 8), 1} }
	for i := 1; i <= CircuitWindow; i++ {
		w.Sent(tag(i))
	}
	if w.Room() != 0 {
		t.Fatalf("room for %d after a full window", w.Room())
	}
	if err := w.Acknowledge(tag(2 * CircuitStep)); !errors.Is(err, ErrWindow) {
		t.Fatalf("SENDME for a later step: got %v, want ErrWindow", err)
	}
	for i := 1; i <= CircuitWindow/CircuitStep; i++ {
		if err := w.Acknowledge(tag(i * CircuitStep)); err != nil {
			t.Fatal(err)
		}
	}
	if w.Room() != CircuitWindow {
		t.Fatalf("room for %d after all was acknowledged", w.Room())
	}
	if err := w.Acknowledge(Tag{}); !errors.Is(err, ErrWindow) {
		t.Fatalf("SENDME for nothing: got %v, want ErrWindow", err)
	}
}

// Whatever the order of sending and acknowledging, sender and receiver agree
// on every step, and no more than the window is in flight.
func TestWindowsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var send SendWindow
		var receive ReceiveWindow
		var flying []Tag
		var acks []Tag
		n := uint16(0)
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				if send.Room() > 0 {
					n++
					flying = append(flying, Tag{byte(n), byte(n >> 8)})
					send.Sent(flying[len(flying)-1])
				}
			case 1:
				if len(flying) > 0 {
					if receive.Received() {
						acks = append(acks, flying[0])
					}
					flying = flying[1:]
				}
			case 2:
				if len(acks) > 0 {
					if err := send.Acknowledge(acks[0]); err != nil {
						t.Fatal(err)
					}
					acks = acks[1:]
				}
			}
			if len(flying) > CircuitWindow || send.Room() < 0 {
				t.Fatal("more than the window in flight")
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
