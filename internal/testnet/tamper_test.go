package testnet

import (
	"context"
	"fmt"
	"testing"

	"sotto/internal/client"
	"sotto/internal/onion"
)

// tampering is who flips a bit, in which direction: the bit is flipped on the
// link behind the relay that does it. What an exit sends away from the client is
// no cell: TestTamperedRequests has it.
var tampering = []struct {
	relay  string
	toward bool
	hop    int // on the link to which hop the bit flips
}{
	{"guard", true, 0},
	{"guard", false, 1},
	{"middle", true, 1},
	{"middle", false, 2},
	{"exit", true, 2},
}

// tamperedBits are places in a cell's body: the tag's first bit, the payload's
// first, one in the middle, and the last.
var tamperedBits = []struct {
	at   int
	mask byte
}{
	{0, 0x80},
	{onion.TagSize, 0x80},
	{onion.BodySize / 2, 0x10},
	{onion.BodySize - 1, 0x01},
}

// TestTamper lets each relay of a path flip one bit of one cell, in each
// direction and in several places, while a text is on its way. The circuit dies,
// the hops behind the flip recognise nothing any more, and the text arrives over
// another circuit.
func TestTamper(t *testing.T) {
	w, ada, ben := tapped(t)
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	say(t, ctx, ada, ben.ID(), 1).await(t, ctx, client.MessageStored)
	var said []*saying
	for _, r := range tampering {
		for _, bit := range tamperedBits {
			what := fmt.Sprintf("%s, toward the client: %v, bit %#x of byte %d", r.relay, r.toward, bit.mask, bit.at)
			f := flip{hop: r.hop, toward: r.toward, at: bit.at, mask: bit.mask}
			said = append(said, w.tampered(t, ctx, what, f, ada, ben))
		}
	}
	for _, s := range said {
		s.await(t, ctx, client.MessageDelivered)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		t.Errorf("on a link, %s", f)
	}
	w.checkHops(t) // the taps see with the hops' eyes: cells before a flip were recognised
}

// tampered is one case of TestTamper.
func (w *wiretap) tampered(t *testing.T, ctx context.Context, what string, f flip, a, b *person) *saying {
	t.Helper()
	armed := w.arm(a, f)
	s := say(t, ctx, a, b.ID(), 1)
	awaitClosed(t, ctx, armed.fired, what+": nothing was sent")
	awaitClosed(t, ctx, armed.on.hops[0].done, what+": the circuit lives on")
	s.await(t, ctx, client.MessageStored)
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.toward {
		return s
	}
	for i, ch := range armed.on.hops[f.hop:] {
		if ch.noise < 0 || len(ch.recognised) <= ch.noise {
			t.Errorf("%s: nothing of it reached hop %d", what, f.hop+i)
			continue
		}
		for j, mine := range ch.recognised[ch.noise:] {
			if mine {
				t.Errorf("%s: hop %d recognised cell %d after it", what, f.hop+i, j)
			}
		}
	}
	return s
}

// TestTamperedRequests lets an exit flip a bit of what it passes on to a swarm:
// the text arrives by another request.
func TestTamperedRequests(t *testing.T) {
	w, ada, ben := tapped(t)
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	for _, at := range []int{0, 8, 16} {
		say(t, ctx, ada, ben.ID(), 1).await(t, ctx, client.MessageStored)
		armed := w.arm(ada, flip{hop: 3, at: at, mask: 1})
		s := say(t, ctx, ada, ben.ID(), 1)
		awaitClosed(t, ctx, armed.fired, "no exit passed anything on")
		s.await(t, ctx, client.MessageDelivered)
	}
}

func awaitClosed(t *testing.T, ctx context.Context, event <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-event:
	case <-ctx.Done():
		t.Fatalf("%s: %v", otherwise, context.Cause(ctx))
	}
}
