package swarm

import (
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"sotto/internal/mailbox"
)

// listener is a subscriber whose circuit is cut again and again. It goes on from
// the cursor of the last push that it had whole.
type listener struct {
	w      *world
	n      *node
	b      *box
	writer *client
	cursor mailbox.Cursor
	sent   []mailbox.Digest
	got    []mailbox.Digest
}

func (l *listener) put() { l.sent = append(l.sent, l.writer.send(l.b, randomEnvelope(4096))) }

// listen subscribes, takes in what waits and then what comes, and reports
// whether it came so far: the circuit is cut after so many steps.
func (l *listener) listen(steps int) (whole bool) {
	l.w.t.Helper()
	c := l.w.client(l.n)
	defer cut(c.rwc)
	step := func() bool { steps--; return steps >= 0 }
	req := &mailbox.Subscribe{Locator: l.b.Locator, Cursor: l.cursor}
	frame, opener := c.seal(req, nil)
	c.write(frame)
	if !step() { // a challenge is on its way
		return false
	}
	resp, err := result(opener.Open(c.read()))
	if err != nil {
		l.w.t.Fatal(err)
	}
	if !step() { // there is no proof
		return false
	}
	proof, err := opener.SealNext(req.Prove(l.b.owner, nil, l.n.id, resp.(*mailbox.Challenge)))
	if err != nil {
		l.w.t.Fatal(err)
	}
	c.write(proof)
	if !step() { // it is accepted, and nobody hears it
		return false
	}
	if _, err := result(opener.Open(c.read())); err != nil {
		l.w.t.Fatal(err)
	}
	if !step() { // it stands
		return false
	}
	for live := 0; ; {
		if len(l.got) == len(l.sent) {
			if live++; live > 2 {
				return true
			}
			l.put() // between pushes
		}
		if !l.push(c, opener, step) {
			return false
		}
	}
}

// push takes one push in, and may be cut within it, before its cursor is kept and
// after.
func (l *listener) push(c *client, opener *mailbox.ReplyOpener, step func() bool) bool {
	l.w.t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(c.rwc, head[:]); err != nil {
		l.w.t.Fatal(err)
	}
	if !step() {
		return false
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.rwc, frame); err != nil {
		l.w.t.Fatal(err)
	}
	if !step() { // it has come, and the client dies
		return false
	}
	resp, err := result(opener.Open(frame))
	if err != nil {
		l.w.t.Fatal(err)
	}
	p := resp.(*mailbox.Pushed)
	l.got, l.cursor = append(l.got, p.Item.Digest), p.Cursor
	return step()
}

// TestSubscriptionIsCutAtEveryStep cuts the circuit of a subscription after its
// first step, after its second, and so on: what all of its lives together took
// is the mailbox, without gap or repeat.
func TestSubscriptionIsCutAtEveryStep(t *testing.T) {
	w := newWorld(t, 5)
	n := w.nodes[0]
	l := &listener{w: w, n: n, b: newBox(w), writer: w.client(n)}
	l.writer.open(l.b, 4<<20)
	cuts := 0
	for l.put(); !l.listen(cuts); l.put() {
		cuts++
		if !slices.Equal(l.got, l.sent[:len(l.got)]) {
			t.Fatalf("cut after %d steps: what came is not the mailbox's beginning", cuts)
		}
	}
	if !slices.Equal(l.got, l.sent) {
		t.Errorf("%d envelopes came of %d", len(l.got), len(l.sent))
	}
	// Four steps until it stands, and three of what waited and each of two that came.
	if cuts < 4+3*3 {
		t.Errorf("cut %d times: not at every step", cuts)
	}
	s := n.swarm
	eventually(t, "nothing to be left of any", func() bool {
		s.subs.sweep()
		return s.subs.len() == 0 && s.ahead.taken() == 0
	})
}
