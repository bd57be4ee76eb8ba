package onion

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// congestionVectors are spec/vectors/congestion.json.
type congestionVectors struct {
	Source  string             `json:"source"`
	Windows []congestionVector `json:"windows"`
}

type congestionVector struct {
	Name   string            `json:"name"`
	Events []congestionEvent `json:"events"`
}

// congestionEvent is one event and what follows from it.
type congestionEvent struct {
	At     int64    `json:"at_us"`
	Sent   int      `json:"sent,omitempty"`   // cells that leave
	Sendme hexBytes `json:"sendme,omitempty"` // tag of a SENDME that arrives

	Window int    `json:"window"`
	Room   int    `json:"room"`
	State  string `json:"state"`
	Error  string `json:"error,omitempty"`
}

func (c *congestion) state() string {
	switch {
	case !c.recheck.since.IsZero():
		return "recheck"
	case c.steady:
		return "steady"
	}
	return "slow start"
}

// run fills in what follows from the events.
func (v *congestionVector) run(t *testing.T) {
	t.Helper()
	var w SendWindow
	n := 0
	for i := range v.Events {
		e := &v.Events[i]
		now := epoch.Add(time.Duration(e.At) * time.Microsecond)
		for range e.Sent {
			n++
			w.Sent(cellTag(n), now)
		}
		e.Error = ""
		if len(e.Sendme) > 0 {
			err := w.Acknowledge(Tag(e.Sendme), now)
			if errors.Is(err, ErrWindow) {
				e.Error = "window"
			} else if err != nil {
				t.Fatal(err)
			}
		}
		e.Window, e.Room, e.State = w.Window(), w.Room(), w.congestion.state()
	}
}

func TestCongestionVectors(t *testing.T) {
	path := filepath.Join(moduleRoot(t), "spec", "vectors", "congestion.json")
	if *update {
		v := congestionInputs()
		for i := range v.Windows {
			v.Windows[i].run(t)
		}
		if err := os.WriteFile(path, v.lines(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, got congestionVectors
	for _, v := range []*congestionVectors{&want, &got} {
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for i := range got.Windows {
		got.Windows[i].run(t)
		for j, e := range got.Windows[i].Events {
			if !reflect.DeepEqual(e, want.Windows[i].Events[j]) {
				t.Errorf("%s, event %d: got %+v, want %+v", got.Windows[i].Name, j, e, want.Windows[i].Events[j])
			}
			if e.Error != "" {
				refused++
			}
		}
	}
	if len(got.Windows) == 0 || refused == 0 {
		t.Fatal("the vectors lack windows or refusals")
	}
}

// lines encodes the vectors with one event a line.
func (v *congestionVectors) lines(t *testing.T) []byte {
	t.Helper()
	text := func(x any) []byte {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"source\": %s,\n\"windows\": [", text(v.Source))
	for i, w := range v.Windows {
		fmt.Fprintf(&b, "%s\n{\"name\": %s,\n \"events\": [", ","[:min(i, 1)], text(w.Name))
		for j, e := range w.Events {
			fmt.Fprintf(&b, "%s\n  %s", ","[:min(j, 1)], text(e))
		}
		b.WriteString("]}")
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

// script writes events down while it follows a window.
type script struct {
	v     congestionVector
	w     SendWindow
	at    time.Duration
	sent  int
	acked int
}

func (s *script) now() time.Time { return epoch.Add(s.at) }

func (s *script) event(e congestionEvent) {
	e.At = s.at.Microseconds()
	s.v.Events = append(s.v.Events, e)
}

// send lets n cells leave.
func (s *script) send(n int) {
	if n == 0 {
		return
	}
	s.event(congestionEvent{Sent: n})
	for range n {
		s.sent++
		s.w.Sent(cellTag(s.sent), s.now())
	}
}

// sendme lets the SENDME for cell n arrive.
func (s *script) sendme(n int) {
	tag := cellTag(n)
	s.event(congestionEvent{Sendme: tag[:]})
	if s.w.Acknowledge(tag, s.now()) == nil {
		s.acked = n
	}
}

// rounds sends whole steps, as many as the window allows, and lets their
// SENDMEs arrive after rtt, n times.
func (s *script) rounds(n int, rtt time.Duration) {
	for range n {
		s.send(s.w.Room() / CircuitStep * CircuitStep)
		s.at += rtt
		for s.sent >= s.acked+CircuitStep {
			s.sendme(s.acked + CircuitStep)
		}
	}
}

func congestionInputs() *congestionVectors {
	const ms = time.Millisecond
	v := &congestionVectors{
		Source: "Events are arbitrary; window, room, state and error follow from them by spec/circuit.md §4.5. " +
			"The tag of the nth cell of a window, counted from 1, is n in 16 bytes, big-endian.",
	}
	for _, c := range []struct {
		name string
		do   func(*script)
	}{
		{"slow start to the ceiling", func(s *script) { s.rounds(5, 100*ms) }},
		{"slow start ended by a queue; then a queue between alpha and beta, above beta, above delta, below alpha", func(s *script) {
			s.rounds(2, 100*ms)
			for _, rtt := range []time.Duration{140, 130, 130, 160, 170, 300, 105, 100, 100} {
				s.rounds(1, rtt*ms)
			}
		}},
		{"a window that is not used", func(s *script) {
			for range 6 {
				s.send(CircuitStep)
				s.at += 100 * ms
				s.sendme(s.acked + CircuitStep)
			}
		}},
		{"a clock that stands still, and one that jumps", func(s *script) {
			s.rounds(1, 0)
			s.rounds(4, 100*ms)
			s.rounds(1, 1000*time.Second)
			s.rounds(1, 2*longest)
			s.rounds(1, 0)
			s.rounds(1, 10*time.Microsecond)
			s.rounds(1, 100*ms)
		}},
		{"a path that became longer is found by a recheck", func(s *script) {
			s.rounds(4, 50*ms)
			s.rounds(6, 150*ms)
			s.at += recheckAfter
			s.rounds(6, 150*ms)
		}},
		{"a queue of one's own is not taken for a longer path", func(s *script) {
			s.rounds(4, 50*ms)
			s.rounds(6, 150*ms)
			s.at += recheckAfter
			s.rounds(1, 150*ms)
			s.rounds(4, 50*ms)
		}},
		{"a SENDME before its step is complete", func(s *script) {
			s.send(CircuitStep - 1)
			s.sendme(CircuitStep - 1)
			s.sendme(CircuitStep)
		}},
		{"a SENDME for a later step, for a cell within the step, and for the right one twice", func(s *script) {
			s.send(2 * CircuitStep)
			s.at = 100 * ms
			s.sendme(2 * CircuitStep)
			s.sendme(CircuitStep - 1)
			s.sendme(CircuitStep)
			s.sendme(CircuitStep)
		}},
		{"one SENDME too many", func(s *script) {
			s.rounds(1, 100*ms)
			s.sendme(s.acked + CircuitStep)
		}},
		{"a SENDME before anything was sent", func(s *script) { s.sendme(CircuitStep) }},
	} {
		s := script{v: congestionVector{Name: c.name}}
		c.do(&s)
		v.Windows = append(v.Windows, s.v)
	}
	return v
}
