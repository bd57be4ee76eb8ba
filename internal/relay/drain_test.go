package relay

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"sotto/internal/onion"
)

// A relay that drains tells each client, refuses new circuits, lets what is
// under way finish, and is done as soon as the circuits have gone.
func TestDrain(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		idle := w.circuit(w.nodes[1], w.nodes[2])
		start := time.Now()
		left := make(chan int)
		go func() { left <- w.nodes[1].relay.Drain(context.Background()) }()

		for who, from := range map[*client]int{c: 1, idle: 0} {
			e := <-who.events
			if why, err := e.Reason(); e.Command != onion.MsgTruncated || err != nil || why != onion.ReasonShutdown || e.hop != from {
				t.Fatalf("got %v from hop %d (%v), want TRUNCATED from %d", e.Command, e.hop, why, from)
			}
		}
		late := w.dial(w.nodes[1])
		_, create, err := onion.StartHandshake(rand.Reader, w.nodes[1].ID, w.nodes[1].OnionKey, onion.ClassStream, nil)
		check(t, err)
		_ = writeHandshake(late.ch, onion.CmdCreate, create) // may be refused before it is written
		if _, err := readHandshake(late.ch, onion.CmdCreated); reasonOf(err) != onion.ReasonShutdown {
			t.Errorf("new circuit: %v", err)
		}
		late.done.Go(late.read)
		late.close()
		idle.close()

		bulk(t, c, 1, w.nodes[3].ID, 300_000)
		select {
		case n := <-left:
			t.Fatalf("drained with %d circuits while one is in use", n)
		default:
		}
		c.close()
		if n := <-left; n != 0 {
			t.Errorf("%d circuits left", n)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("took %v", d)
		}
		if n := w.nodes[1].relay.Drain(context.Background()); n != 0 {
			t.Errorf("second time: %d circuits left", n)
		}
	})
}

// A client that stays does not hold a relay up.
func TestDrainIsBounded(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		start := time.Now()
		if n := w.nodes[0].relay.Drain(ctx); n != 1 {
			t.Errorf("%d circuits left, want 1", n)
		}
		if d := time.Since(start); d != 7*time.Second {
			t.Errorf("took %v", d)
		}
		c.send(onion.Probe([8]byte{1})) // the circuit itself lives
		if e := <-c.events; e.Command != onion.MsgTruncated {
			t.Errorf("got %v", e.Command)
		}
		c.expect(onion.MsgProbeReply)
	})
}
