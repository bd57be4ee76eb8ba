package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/onion"
)

// restart ends a real node as kill -9 does, and starts it again.
func (s *stage) restart(i int) {
	s.t.Helper()
	if err := s.procs.Kill(i); err != nil {
		s.t.Fatal(err)
	}
	info, err := s.procs.Restart(s.t.Context(), i)
	if err != nil {
		s.t.Fatal(err)
	}
	setMetrics(s.layout, i, info.Metrics)
}

// TestReplayedCreate sends a recorded CREATE and the cells after it once more:
// on the same link, on another, and to the node after a restart. The node may
// answer, with keys that nobody can have and that have nothing in common with
// the first ones; the recorded cells are noise to them.
func TestReplayedCreate(t *testing.T) {
	s := newStage(t, 0, 5)
	node := s.real(1)
	conn := s.dial(node, nil, wideWindow)
	shake, create, err := onion.StartHandshake(rand.Reader, node.ID, node.OnionKey, onion.ClassStream, nil)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := openRaw(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.writeShake(onion.CmdCreate, create); err != nil {
		t.Fatal(err)
	}
	created, err := ch.readShake(onion.CmdCreated)
	if err != nil {
		t.Fatal(err)
	}
	c := &rawCircuit{rawChannel: ch}
	shadow, err := c.addHop(shake, created)
	if err != nil {
		t.Fatal(err)
	}
	probe, err := c.seal(0, onion.CmdRelay, onion.Probe([8]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.write(probe...); err != nil {
		t.Fatal(err)
	}
	if _, err := c.expect(0, onion.MsgProbeReply); err != nil {
		t.Fatal(err)
	}
	// The same layer recognises the recorded cell: what is refused below is so
	// because the layer is another.
	cell := *probe[0]
	if mine, _, _ := shadow.Outbound(&cell); !mine {
		t.Fatal("the layer that a cell was made for does not recognise it: the check sees nothing")
	}
	seen := [][]byte{created}
	replay := func(ch *rawChannel) {
		t.Helper()
		if err := ch.writeShake(onion.CmdCreate, create); err != nil {
			t.Fatal(err)
		}
		again, err := ch.readShake(onion.CmdCreated)
		if err != nil {
			return // refused, which gives less still
		}
		for _, earlier := range seen {
			if n := common(again, earlier); n > 0 {
				t.Errorf("two answers to one CREATE have %d bytes in a row in common", n)
			}
		}
		seen = append(seen, again)
		if err := ch.write(probe[0]); err != nil {
			t.Fatal(err)
		}
		cell, err := ch.read()
		if code := resetCode(err); code != int(onion.ReasonProtocol) {
			t.Errorf("a recorded cell is answered by %x, and ended with %d (%v)", cell, code, err)
		}
	}
	for range 3 {
		ch, err := openRaw(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		replay(ch)
	}
	ch, err = openRaw(t.Context(), s.dial(node, nil, wideWindow))
	if err != nil {
		t.Fatal(err)
	}
	replay(ch)
	if err := c.probe(0); err != nil {
		t.Errorf("the circuit whose CREATE was replayed: %v", err)
	}
	s.restart(1)
	if ch, err = openRaw(t.Context(), s.dial(node, nil, wideWindow)); err != nil {
		t.Fatal(err)
	}
	replay(ch)
	// Another node cannot have the keys at all.
	if ch, err = openRaw(t.Context(), s.dial(s.real(2), nil, wideWindow)); err != nil {
		t.Fatal(err)
	}
	if err := ch.writeShake(onion.CmdCreate, create); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.read(); resetCode(err) != int(onion.ReasonProtocol) {
		t.Errorf("another node answered: %v", err)
	}
}

// commonRun is how many equal bytes in a row two answers may have by chance:
// 8 are expected once in 2^42 pairs of this length.
const commonRun = 8

// common returns commonRun if two handshakes have so many bytes in a row in
// common at one place, the version aside.
func common(a, b []byte) int {
	for i := 1; i+commonRun <= min(len(a), len(b)); i++ {
		if bytes.Equal(a[i:i+commonRun], b[i:i+commonRun]) {
			return commonRun
		}
	}
	return 0
}

// TestReplayedCells sends recorded cells again, on their own circuit and on
// another one: that circuit ends, and those beside it go on.
func TestReplayedCells(t *testing.T) {
	s := newStage(t, 0, 5)
	conn := s.dial(s.real(1), nil, wideWindow)
	circuits := make([]*rawCircuit, 4)
	for i := range circuits {
		var err error
		if circuits[i], err = newRawCircuit(t.Context(), conn, s.real(1), s.real(2), s.real(3)); err != nil {
			t.Fatal(err)
		}
	}
	for name, at := range map[string][2]int{"on its own circuit": {0, 0}, "on another circuit": {1, 2}} {
		from, to := circuits[at[0]], circuits[at[1]]
		cells, err := from.seal(2, onion.CmdRelay, onion.Probe([8]byte{2}))
		if err != nil {
			t.Fatal(err)
		}
		recorded := *cells[0]
		if err := from.write(cells...); err != nil {
			t.Fatal(err)
		}
		if _, err := from.expect(2, onion.MsgProbeReply); err != nil {
			t.Fatalf("%s, the first time: %v", name, err)
		}
		if err := to.write(&recorded); err != nil {
			t.Fatal(err)
		}
		if _, err := to.read(); resetCode(err) != int(onion.ReasonProtocol) {
			t.Errorf("%s, the second time: %v, want the circuit's end", name, err)
		}
	}
	for _, i := range []int{1, 3} {
		if err := circuits[i].probe(2); err != nil {
			t.Errorf("circuit %d, on which nothing was replayed: %v", i, err)
		}
	}
}

// TestReplayedRequest sends a recorded sealed request again, as an exit could:
// on its stream, on another, over another exit, and after the member's restart.
// It is refused, and after the restart nobody can open it any more.
func TestReplayedRequest(t *testing.T) {
	s := newStage(t, 0, 6)
	member := s.real(4)
	over := func(exit int) *rawCircuit {
		t.Helper()
		c, err := newRawCircuit(t.Context(), s.dial(s.real(1), nil, wideWindow), s.real(1), s.real(2), s.real(exit))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := over(3)
	first := c.begin(1, member)
	cert, err := first.askKeys()
	if err == nil {
		err = cert.Verify(member.ID, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	frame, fresh, err := mailbox.SealRequest(rand.Reader, cert, time.Now(), &mailbox.Quote{})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := first.ask(frame)
	if err != nil {
		t.Fatal(err)
	}
	opener := *fresh // which counts answers
	if resp, err := opener.Open(answer); err != nil || resp.Tag() != mailbox.TagQuoteReply {
		t.Fatalf("the first time: %v, %v", resp, err)
	}
	refused := func(name string, stream *rawStream) {
		t.Helper()
		answer, err := stream.ask(frame)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		opener := *fresh
		resp, err := opener.Open(answer)
		var no *mailbox.Failure
		if failure, ok := resp.(*mailbox.Failure); ok {
			no = failure
		}
		if err != nil || !errors.Is(no, mailbox.ErrReplay) {
			t.Errorf("%s: %v, %v; want a refusal", name, resp, err)
		}
	}
	refused("on its stream", first)
	refused("on another stream", c.begin(2, member))
	refused("over another exit", over(5).begin(1, member))
	s.restart(4)
	// The exit may find that its connection died with the node.
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	for {
		answer, err := over(6).begin(1, member).ask(frame)
		if err == nil {
			if kind, err := mailbox.FrameType(answer); err != nil || kind != mailbox.FrameKeys {
				t.Errorf("after a restart the member answers with a frame of type %d (%v)", kind, err)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("after a restart: %v", err)
		}
	}
}
