package relay

import (
	"context"
	"testing"
	"testing/synctest"

	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// What is counted is the memory that is held, not the bytes in it: a byte that
// waits on each of many streams takes a buffer each.
func TestMemoryCountsBuffers(t *testing.T) {
	inSim(t, 4, Limits{MaxMemory: 5 * chunkSize}, func(t *testing.T, w *network) {
		w.nodes[2].exit.dial = func(ctx context.Context, _ identity.NodeID) error { <-ctx.Done(); return ctx.Err() }
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		for id := range uint16(4) {
			c.send(onion.Begin(id+1, w.nodes[3].ID), onion.Message{Command: onion.MsgData, Stream: id + 1, Data: []byte{1}})
		}
		c.send(onion.Probe([8]byte{}))
		c.expect(onion.MsgProbeReply)
		synctest.Wait()
		if held := w.nodes[2].relay.memory.total.Load(); held != 4*chunkSize {
			t.Errorf("%d bytes for four buffers of %d", held, chunkSize)
		}
		for id := range uint16(2) {
			_ = c.trySend(2, onion.Begin(id+5, w.nodes[3].ID), onion.Message{Command: onion.MsgData, Stream: id + 5, Data: []byte{1}})
		}
		c.expectEnd(onion.ReasonLimit)
	})
}

// stuck is a channel that nobody reads: writes wait until it is reset.
type stuck struct {
	sink
	reset chan struct{}
}

func (s stuck) WriteBatch(*link.Batch) error { <-s.reset; return link.ErrLost }
func (s stuck) Abort(link.Code)              { close(s.reset) }

// Whatever waits, the count of memory follows it and comes back to zero.
func TestQueueCountsBatches(t *testing.T) {
	c := offline(t)
	q := queue{c: c, ch: stuck{reset: make(chan struct{})}}
	held := func() int64 { return c.relay.memory.total.Load() }
	push := func(cells int) {
		b := link.NewBatch()
		for range cells {
			b.Next().SetHeader(1, onion.CmdRelay)
		}
		q.push(b)
	}
	push(1) // goes to the writer, or waits for it
	push(1)
	push(link.BatchCells)
	if n := held(); n < 2*link.BatchBytes || n > 3*link.BatchBytes || n%link.BatchBytes != 0 {
		t.Errorf("%d bytes are counted for 30 cells", n)
	}
	q.ch.Abort(0)
	q.close()
	c.destroy(onion.ReasonDone)
	c.wg.Wait()
	if n := held(); n != 0 {
		t.Errorf("%d bytes are counted after the end", n)
	}
}
