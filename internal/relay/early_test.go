package relay

import (
	"crypto/rand"
	"testing"
	"testing/synctest"

	"sotto/internal/onion"
)

// A circuit of three hops has used up its RELAY_EARLY cells: the relays of the
// path allow no fourth, whichever command its EXTEND comes with.
func TestCircuitsHaveThreeHops(t *testing.T) {
	inSim(t, 5, Limits{}, func(t *testing.T, w *network) {
		for _, cmd := range []onion.Command{onion.CmdRelay, onion.CmdRelayEarly} {
			c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
			_ = c.trySendAs(cmd, 2, w.extension(w.nodes[3])) // the circuit may end between its cells
			c.expectEnd(onion.ReasonProtocol)
			c.close()
			synctest.Wait()
			if n := w.nodes[3].metric(t, "circuits_created_total", ""); n != 0 {
				t.Errorf("EXTEND in %v made a fourth hop", cmd)
			}
		}
	})
}

// extension is an EXTEND to n.
func (w *network) extension(n *node) onion.Message {
	w.t.Helper()
	_, create, err := onion.StartHandshake(rand.Reader, n.ID, n.OnionKey, onion.ClassStream, nil)
	check(w.t, err)
	return onion.Extend(n.ID, create)
}

// Every cell of an EXTEND is RELAY_EARLY, or it is refused.
func TestExtendNeedsEarlyCells(t *testing.T) {
	early, plain := onion.CmdRelayEarly, onion.CmdRelay
	for _, tc := range []struct {
		name  string
		cells []onion.Command
		first []onion.Message // before EXTEND, in the same cells
		fails bool
	}{
		{"early", []onion.Command{early, early}, nil, false},
		{"plain", []onion.Command{plain, plain}, nil, true},
		{"end plain", []onion.Command{early, plain}, nil, true},
		{"beginning plain", []onion.Command{plain, early}, nil, true},
		{"behind a message", []onion.Command{early, early}, []onion.Message{onion.Probe([8]byte{})}, false},
		{"behind a plain message's end", []onion.Command{plain, early, early}, []onion.Message{{Command: onion.MsgDrop, Data: make([]byte, onion.PayloadSize)}}, false},
		{"behind a plain message, plain", []onion.Command{plain, early, plain}, []onion.Message{{Command: onion.MsgDrop, Data: make([]byte, onion.PayloadSize)}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inSim(t, 3, Limits{}, func(t *testing.T, w *network) {
				c := w.circuit(w.nodes[0])
				defer c.close()
				var p onion.Packer
				for _, m := range append(tc.first, w.extension(w.nodes[1])) {
					check(t, p.Add(m))
				}
				for _, cmd := range tc.cells {
					var cell onion.Cell
					cell.SetHeader(c.ch.CircID(), cmd)
					if _, ok := p.Next(cell.Payload()); !ok {
						t.Fatal("fewer cells than commands")
					}
					_, err := c.layers.Seal(0, &cell, cell.Payload())
					check(t, err)
					check(t, c.ch.WriteCells(&cell))
				}
				if p.Pending() > 0 {
					t.Fatal("more cells than commands")
				}
				if tc.fails {
					c.expectEnd(onion.ReasonProtocol)
					return
				}
				for m := range c.events {
					if m.Command == onion.MsgExtended {
						return
					}
				}
				t.Errorf("no EXTENDED: %v", c.err)
			})
		})
	}
}

// A fifth RELAY_EARLY ends the circuit at the first relay that counts it,
// whoever it is for.
func TestEarlyCellsAreCounted(t *testing.T) {
	inSim(t, 3, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1])
		defer c.close()
		drop := onion.Message{Command: onion.MsgDrop}
		for range onion.MaxEarly - 2 {
			check(t, c.trySendAs(onion.CmdRelayEarly, 0, drop))
		}
		c.send(onion.Probe([8]byte{1}))
		c.expect(onion.MsgProbeReply)
		check(t, c.trySendAs(onion.CmdRelayEarly, 1, drop))
		c.expectEnd(onion.ReasonProtocol)
	})
}

// A relay that marks a cell by its command destroys the circuit: toward the
// client RELAY_EARLY is a breach, away from it the layers bind the command.
func TestEarlyMarksNothing(t *testing.T) {
	mark := func(c *onion.Cell) {
		if c.Command() == onion.CmdRelay {
			c.SetHeader(c.CircID(), onion.CmdRelayEarly)
		}
	}
	for name, tap := range map[string][2]func(*onion.Cell){
		"toward the client":    {ignore, mark},
		"away from the client": {mark, ignore},
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
				var on bool
				gate := func(f func(*onion.Cell)) func(*onion.Cell) {
					return func(c *onion.Cell) {
						if on {
							f(c)
						}
					}
				}
				w.nodes[0].tapNext(gate(tap[0]), gate(tap[1]))
				c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
				defer c.close()
				synctest.Wait()
				on = true
				c.send(onion.Probe([8]byte{1}))
				c.expectEnd(onion.ReasonProtocol)
			})
		})
	}
}
