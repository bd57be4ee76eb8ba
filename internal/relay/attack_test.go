package relay

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// tap stands on a relay's channel to its next neighbour, as the relay's own
// operator could.
type tap struct {
	channel
	away   func(*onion.Cell) // sees and may change what goes to the next relay
	toward func(*onion.Cell) // sees and may change what comes from it
}

func (t *tap) WriteBatch(b *link.Batch) error {
	for i := range b.Len() {
		t.away(b.Cell(i))
	}
	return t.channel.WriteBatch(b)
}

func (t *tap) WriteCells(cells ...*onion.Cell) error {
	for _, c := range cells {
		t.away(c)
	}
	return t.channel.WriteCells(cells...)
}

func (t *tap) ReadBatch(b *link.Batch) error {
	err := t.channel.ReadBatch(b)
	for i := range b.Len() {
		t.toward(b.Cell(i))
	}
	return err
}

func (t *tap) ReadCell(c *onion.Cell) error {
	err := t.channel.ReadCell(c)
	if err == nil {
		t.toward(c)
	}
	return err
}

// tapNext makes n put a tap on every channel that it opens.
func (n *node) tapNext(away, toward func(*onion.Cell)) {
	open := n.relay.openChannel
	n.relay.open = func(ctx context.Context, to directory.Node) (channel, error) {
		ch, err := open(ctx, to)
		if err != nil {
			return nil, err
		}
		return &tap{ch, away, toward}, nil
	}
}

func ignore(*onion.Cell) {}

// flipOnce flips one bit of the body of the RELAY cell number at.
func flipOnce(at, bit int) func(*onion.Cell) {
	seen := 0
	return func(c *onion.Cell) {
		if c.Command() != onion.CmdRelay && c.Command() != onion.CmdRelayEarly {
			return
		}
		if seen == at {
			c.Body()[bit/8] ^= 1 << (bit % 8)
		}
		seen++
	}
}

// Whatever bit a relay flips, in whatever direction, at whatever hop: the
// circuit dies, the exit recognises nothing more, and nothing comes out of it.
func TestBitFlipDestroysTheCircuit(t *testing.T) {
	const quiet = 2 // cells on a link before the stream: EXTEND's two, on the first link only
	for hop := range 2 {
		for _, bit := range []int{0, 100, 8 * onion.TagSize, 5000, 8*onion.BodySize - 1} {
			t.Run(fmt.Sprintf("away from hop %d, bit %d", hop, bit), func(t *testing.T) {
				inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
					w.nodes[hop].tapNext(flipOnce(quiet*(1-hop)+1, bit), ignore)
					c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
					defer c.close()
					c.send(onion.Begin(1, w.nodes[3].ID))
					c.expect(onion.MsgConnected)
					_ = c.trySend(2, onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("secret")})
					_ = c.trySend(2, onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("after")})
					c.expectEnd(onion.ReasonProtocol)
					synctest.Wait()
					exit := w.nodes[2]
					if exit.metric(t, "circuits_destroyed_total", onion.ReasonProtocol.String()) != 1 {
						t.Error("the exit took noise for a cell")
					}
					if n := exit.metric(t, "exit_bytes_total", ""); n != 0 {
						t.Errorf("%v bytes left the exit", n)
					}
					time.Sleep(5 * linkLatency)
					for _, n := range w.nodes {
						n.checkEmpty(t)
					}
				})
			})
			t.Run(fmt.Sprintf("toward hop %d, bit %d", hop, bit), func(t *testing.T) {
				inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
					w.nodes[hop].tapNext(ignore, flipOnce(quiet*(1-hop)+1, bit))
					c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
					defer c.close()
					c.send(onion.Begin(1, w.nodes[3].ID))
					c.expect(onion.MsgConnected)
					c.send(onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("question")})
					for e := range c.events {
						t.Errorf("%v of hop %d got through", e.Command, e.hop)
					}
					if c.err != onion.ErrUnrecognized {
						t.Errorf("client's circuit ended with %v", c.err)
					}
				})
			})
		}
	}
}

// On every link a circuit is two handshake cells and then RELAY cells of its
// own id, whole ones, whatever happens in it.
func TestLinksCarryWholeCellsOnly(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		watch := func(first onion.Command, n *atomic.Int64) func(*onion.Cell) {
			var early atomic.Int64
			return func(c *onion.Cell) {
				want := onion.CmdRelay
				if n.Add(1) <= 2 {
					want = first
				}
				if want == onion.CmdRelay && c.Command() == onion.CmdRelayEarly && early.Add(1) <= onion.MaxEarly {
					want = onion.CmdRelayEarly
				}
				if err := onion.CheckHeader(c); err != nil || c.Command() != want || c.CircID() != 1 {
					t.Errorf("cell %d: %v of circuit %d, %v", n.Load(), c.Command(), c.CircID(), err)
				}
			}
		}
		var counts [4]atomic.Int64
		for i, n := range w.nodes[:2] {
			n.tapNext(watch(onion.CmdCreate, &counts[2*i]), watch(onion.CmdCreated, &counts[2*i+1]))
		}
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		bulk(t, c, 1, w.nodes[3].ID, 1<<20)
		for i := range counts {
			if counts[i].Load() < (1<<20)/onion.PayloadSize {
				t.Errorf("only %d cells seen at %d", counts[i].Load(), i)
			}
		}
	})
}

// A client that ignores the windows fills one queue and loses its circuit.
func TestFloodIsBounded(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		w.sim.SetDown(w.nodes[2].Addr.Addr(), true)
		flooded := make(chan error, 1)
		go func() {
			for {
				if err := c.trySend(2, onion.Message{Command: onion.MsgDrop}); err != nil {
					flooded <- err
					return
				}
			}
		}()
		c.expectEnd(onion.ReasonLimit)
		<-flooded
		time.Sleep(5 * linkLatency)
		w.nodes[0].checkEmpty(t)
		w.nodes[1].checkEmpty(t)
	})
}

// A client that sends more of a stream than its window allows loses its
// circuit; the exit never holds more than the window.
func TestStreamWindowIsEnforced(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		w.nodes[2].exit.dial = func(ctx context.Context, _ identity.NodeID) error { <-ctx.Done(); return ctx.Err() }
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		c.send(onion.Begin(1, w.nodes[3].ID)) // never connected: all of it is early data
		check(t, c.write(1, make([]byte, onion.StreamWindow)))
		time.Sleep(20 * linkLatency)
		synctest.Wait()
		if held := w.nodes[2].relay.memory.total.Load(); held != onion.StreamWindow {
			t.Errorf("exit holds %d bytes, want the stream's window", held)
		}
		check(t, c.trySend(2, onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte{1}}))
		c.expectEnd(onion.ReasonProtocol)
	})
}

// A client that does not read makes relays hold no more than the window that
// the circuit starts with, and the exit stops reading.
func TestSlowReaderIsBounded(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		w.nodes[2].exit.serve = func(rwc io.ReadWriteCloser) {
			buf := make([]byte, 32<<10)
			for {
				if _, err := rwc.Write(buf); err != nil {
					return
				}
			}
		}
		c := w.dial(w.nodes[0])
		defer c.close()
		c.create(w.nodes[0])
		// The reader stops for good once the stream is open.
		stop := make(chan struct{})
		c.done.Go(func() {
			unpackers := make([]onion.Unpacker, onion.MaxHops)
			var window onion.ReceiveWindow
			for {
				select {
				case <-stop:
					return
				default:
				}
				var cell onion.Cell
				if c.ch.ReadCell(&cell) != nil || c.open(&cell, unpackers, &window) != nil {
					return
				}
			}
		})
		c.extend(w.nodes[1])
		c.extend(w.nodes[2])
		close(stop)
		c.send(onion.Begin(1, w.nodes[3].ID))
		var most int64
		for range 300 {
			time.Sleep(linkLatency)
			var held int64
			for _, n := range w.nodes {
				held += n.relay.memory.total.Load()
			}
			most = max(most, held)
		}
		if limit := int64(onion.StartWindow+8)*onion.CellSize + link.ServiceWindow; most > limit {
			t.Errorf("relays held %d bytes, at most %d", most, limit)
		}
		if held := w.nodes[2].relay.memory.total.Load(); held != link.ServiceWindow {
			t.Errorf("the exit is charged %d bytes for a stream that it does not read", held)
		}
		if sent := w.nodes[2].metric(t, "exit_bytes_total", labelToward); sent > onion.StartWindow*onion.MaxData+busyRead {
			t.Errorf("exit read %v bytes for a client that reads none", sent)
		}
	})
}

// Beyond its memory a node sheds the circuit with the most, and keeps the rest.
func TestMemoryShedsTheHeaviest(t *testing.T) {
	inSim(t, 4, Limits{MaxMemory: 400 << 10}, func(t *testing.T, w *network) {
		release := make(chan struct{})
		defer close(release)
		w.nodes[2].exit.serve = func(io.ReadWriteCloser) { <-release } // reads nothing
		heavy := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer heavy.close()
		light := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer light.close()
		heavy.send(onion.Begin(1, w.nodes[3].ID))
		check(t, heavy.write(1, make([]byte, 250<<10)))
		light.send(onion.Begin(1, w.nodes[3].ID))
		check(t, light.write(1, make([]byte, 150<<10)))
		heavy.expectEnd(onion.ReasonLimit)
		light.expect(onion.MsgConnected)
		light.send(onion.Probe([8]byte{1}))
		light.expect(onion.MsgProbeReply)
		if held := w.nodes[2].relay.memory.total.Load(); held > 6*chunkSize || held < 4*chunkSize {
			t.Errorf("node holds %d bytes after shedding", held)
		}
	})
}
