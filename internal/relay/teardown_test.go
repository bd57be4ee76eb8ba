package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/onion"
)

// Whoever ends a circuit, nothing of it remains on any relay.
func TestTeardownFreesEverything(t *testing.T) {
	inSim(t, 5, Limits{}, func(t *testing.T, w *network) {
		use := func() *client {
			c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
			for i := range 5 {
				c.send(onion.Begin(uint16(i+1), w.nodes[3].ID), onion.Message{Command: onion.MsgData, Stream: uint16(i + 1), Data: []byte("x")})
			}
			return c
		}
		empty := func(nodes ...*node) {
			t.Helper()
			time.Sleep(10 * linkLatency)
			synctest.Wait()
			for _, n := range nodes {
				n.checkEmpty(t)
			}
		}
		c := use()
		c.close()
		empty(w.nodes...)

		c = use()
		check(t, c.ch.CloseWrite()) // an orderly end means the same
		c.expectEnd(onion.ReasonDone)
		empty(w.nodes...)
		c.close()

		c = use()
		w.nodes[2].stop() // the exit goes
		c.expectEnd(onion.ReasonShutdown, onion.ReasonLinkLost)
		empty(w.nodes...)
		c.close()

		c = w.circuit(w.nodes[0], w.nodes[1], w.nodes[4])
		w.nodes[1].stop() // the middle goes
		c.expectEnd(onion.ReasonShutdown, onion.ReasonLinkLost)
		empty(w.nodes...)
		c.close()
	})
}

// A neighbour that goes silent is noticed by the link, on both sides of it.
func TestDeadNeighbour(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		c.send(onion.Begin(1, w.nodes[3].ID))
		c.expect(onion.MsgConnected)
		start := time.Now()
		w.sim.SetDown(w.nodes[1].Addr.Addr(), true)
		c.expectEnd(onion.ReasonLinkLost)
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("dead middle noticed after %v", d)
		}
		time.Sleep(4 * time.Second)
		w.nodes[0].checkEmpty(t)
		w.nodes[2].checkEmpty(t)
		if c := w.circuit(w.nodes[0], w.nodes[2]); c != nil { // and the rest goes on
			c.close()
		}
	})
}

func TestUnreachableNext(t *testing.T) {
	inSim(t, 3, Limits{}, func(t *testing.T, w *network) {
		w.sim.SetDown(w.nodes[2].Addr.Addr(), true)
		a, b := w.circuit(w.nodes[0], w.nodes[1]), w.circuit(w.nodes[0], w.nodes[1])
		start := time.Now()
		a.sendExtend(onion.Extend(w.nodes[2].ID, make([]byte, onion.HandshakeSize)))
		a.expectEnd(onion.ReasonTimeout)
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("dead next node noticed after %v", d)
		}
		// Within the pause after a failure nobody waits.
		start = time.Now()
		b.sendExtend(onion.Extend(w.nodes[2].ID, make([]byte, onion.HandshakeSize)))
		b.expectEnd(onion.ReasonUnreachable)
		if d := time.Since(start); d > 10*linkLatency {
			t.Errorf("known failure told after %v", d)
		}
		a.close()
		b.close()
	})
}
