package circuit

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/onion"
)

// looseCircuit is a circuit without a channel, for what needs none.
func looseCircuit(rand func([]byte)) *circuit {
	return &circuit{
		now:     func() time.Time { return start },
		token:   func() (b [8]byte, err error) { rand(b[:]); return b, nil },
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		streams: make(map[uint16]*Stream),
	}
}

// pack lays messages out in payloads.
func pack(t testing.TB, messages ...onion.Message) []byte {
	t.Helper()
	var p onion.Packer
	for _, m := range messages {
		if err := p.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	var out []byte
	for p.Pending() > 0 {
		payload := make([]byte, onion.PayloadSize)
		p.Next(payload)
		out = append(out, payload...)
	}
	return out
}

// TestExitMayNot lists what ends a circuit when its exit says it to a client
// that has written on stream 1 and closed stream 2.
func TestExitMayNot(t *testing.T) {
	data := onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("x")}
	for name, messages := range map[string][]onion.Message{
		"name a stream of its own":    {onion.Connected(3)},
		"connect twice":               {onion.Connected(1), onion.Connected(1)},
		"send data before connecting": {data},
		"send empty data":             {onion.Connected(1), {Command: onion.MsgData, Stream: 1}},
		"send data after its end":     {onion.Connected(1), onion.End(1, onion.ReasonDone), data},
		"end twice in order":          {onion.End(1, onion.ReasonDone), onion.End(1, onion.ReasonDone)},
		"acknowledge nothing":         {onion.StreamSendme(1)},
		"acknowledge another cell":    {onion.Sendme(onion.Tag{1})},
		"answer no question":          {onion.ProbeReply([8]byte{1})},
		"open a stream":               {onion.Begin(1, identity.NodeID{})},
		"extend":                      {onion.Extended(make([]byte, onion.HandshakeSize))},
		"truncate":                    {onion.Truncated(onion.ReasonDone)},
		"ask for cover traffic":       {onion.Cover(time.Minute, 5)},
		"drop on a stream":            {{Command: onion.MsgDrop, Stream: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := twoStreams(t)
			b := pack(t, messages...)
			var err error
			for len(b) > 0 && err == nil {
				err = c.receivePayload(exitHop, b[:onion.PayloadSize], onion.Tag{})
				b = b[onion.PayloadSize:]
			}
			if err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func TestExitMay(t *testing.T) {
	c := twoStreams(t)
	err := c.receivePayload(exitHop, pack(t,
		onion.Message{Command: onion.MsgDrop, Data: []byte("padding")},
		onion.Connected(1),
		onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("hello")},
		onion.Message{Command: onion.MsgData, Stream: 2, Data: []byte("crossed our END")},
		onion.StreamSendme(2),
		onion.End(2, onion.ReasonLinkLost),
		onion.End(1, onion.ReasonDone),
		onion.End(1, onion.ReasonLinkLost),
	), onion.Tag{})
	if err != nil {
		t.Fatal(err)
	}
	for hop := range exitHop {
		err := c.receivePayload(hop, pack(t, onion.Message{Command: onion.MsgDrop}), onion.Tag{})
		if (err == nil) != (hop >= middleHop) {
			t.Fatalf("DROP of hop %d: %v", hop, err)
		}
		if err := c.receivePayload(hop, pack(t, onion.Connected(1)), onion.Tag{}); err == nil {
			t.Fatalf("hop %d speaks for the exit", hop)
		}
	}
}

// A stream's window bounds what an exit can make a client hold.
func TestStreamWindowIsHeld(t *testing.T) {
	c := twoStreams(t)
	if err := c.receivePayload(exitHop, pack(t, onion.Connected(1)), onion.Tag{}); err != nil {
		t.Fatal(err)
	}
	payload := pack(t, onion.Message{Command: onion.MsgData, Stream: 1, Data: make([]byte, onion.MaxData)})
	sent := 0
	for c.receivePayload(exitHop, payload, onion.Tag{}) == nil {
		sent += onion.MaxData
	}
	if sent > onion.StreamWindow || sent < onion.StreamWindow-onion.MaxData {
		t.Fatalf("%d bytes accepted, the window is %d", sent, onion.StreamWindow)
	}
}

// An exit that acknowledges cells which have not reached it, to make the client
// send faster than the path carries, ends the circuit.
func TestExitMayNotAcknowledgeEarly(t *testing.T) {
	tags := make([]onion.Tag, 2*onion.CircuitStep)
	for i := range tags {
		tags[i] = onion.Tag{byte(i), 1}
	}
	due := tags[onion.CircuitStep-1]
	for name, c := range map[string]struct {
		says []onion.Tag
		ok   bool
	}{
		"the step's last cell":     {[]onion.Tag{due}, true},
		"one cell before":          {[]onion.Tag{tags[onion.CircuitStep-2]}, false},
		"a later step":             {[]onion.Tag{tags[2*onion.CircuitStep-1]}, false},
		"the same step once more":  {[]onion.Tag{due, due}, false},
		"a tag that is nearly due": {[]onion.Tag{{due[0], due[1], 1}}, false},
	} {
		circuit := twoStreams(t)
		for _, tag := range tags {
			circuit.window.Sent(tag, start)
		}
		var err error
		for _, tag := range c.says {
			if err = circuit.receivePayload(exitHop, pack(t, onion.Sendme(tag)), onion.Tag{}); err != nil {
				break
			}
		}
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, onion.ErrWindow) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// twoStreams returns a circuit whose client has written on stream 1 and closed
// stream 2.
func twoStreams(t testing.TB) *circuit {
	t.Helper()
	c := looseCircuit(func([]byte) {})
	for range 2 {
		c.mu.Lock()
		s := c.openLocked(identity.NodeID{1}, Send)
		c.mu.Unlock()
		if _, err := s.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if s.id == 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	drain(t, c)
	return c
}

// drain packs what the circuit would send.
func drain(t testing.TB, c *circuit) {
	t.Helper()
	payload := make([]byte, onion.PayloadSize)
	for {
		c.mu.Lock()
		_, ok := c.packLocked(payload, onion.MaxWindow)
		c.mu.Unlock()
		if !ok {
			return
		}
	}
}

// FuzzReceive lets a hop say anything to a client with two streams.
func FuzzReceive(f *testing.F) {
	f.Add(byte(exitHop), pack(f, onion.Connected(1), onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("hello")}, onion.StreamSendme(1)))
	f.Add(byte(exitHop), pack(f, onion.End(1, onion.ReasonDone), onion.End(2, onion.ReasonLinkLost)))
	f.Add(byte(exitHop), pack(f, onion.Sendme(onion.Tag{}), onion.ProbeReply([8]byte{})))
	f.Add(byte(0), pack(f, onion.Message{Command: onion.MsgDrop}, onion.Extended(make([]byte, onion.HandshakeSize))))
	f.Fuzz(func(t *testing.T, hop byte, b []byte) {
		c := twoStreams(t)
		for len(b) > 0 {
			var payload [onion.PayloadSize]byte
			b = b[copy(payload[:], b):]
			if c.receivePayload(int(hop)%hops, payload[:], onion.Tag{}) != nil {
				break
			}
			drain(t, c)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.streams {
			if s.in.Len() > onion.StreamWindow {
				t.Fatalf("stream %d holds %d bytes", s.id, s.in.Len())
			}
		}
	})
}
