package relay

import (
	"context"
	"io"
	"sync"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// benchChunk is how many bytes one round of a throughput benchmark moves.
const benchChunk = 8 << 20

// source answers a byte with benchChunk bytes, for ever.
func source(rwc io.ReadWriteCloser) {
	buf := make([]byte, 32<<10)
	for {
		if _, err := io.ReadFull(rwc, buf[:1]); err != nil {
			return
		}
		for sent := 0; sent < benchChunk; sent += len(buf) {
			if _, err := rwc.Write(buf); err != nil {
				return
			}
		}
	}
}

// BenchmarkThreeRelays is the throughput of one circuit through three relays.
func BenchmarkThreeRelays(b *testing.B) {
	w := newNetwork(b, 4, nil, Limits{})
	defer w.close()
	w.nodes[2].exit.serve = source
	c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
	defer c.close()
	c.send(onion.Begin(1, w.nodes[3].ID))
	c.expect(onion.MsgConnected)
	var window onion.StreamReceiveWindow
	b.SetBytes(benchChunk)
	b.ResetTimer()
	for range b.N {
		check(b, c.write(1, []byte{1}))
		for got := 0; got < benchChunk; {
			m := c.expect(onion.MsgData)
			got += len(m.Data)
			c.consume(1, &window, len(m.Data))
		}
	}
}

// BenchmarkBareChain is the same over the same connections without circuits:
// three hops that copy bytes from stream to stream.
func BenchmarkBareChain(b *testing.B) {
	w := newNetwork(b, 4, nil, Limits{}) // the last node dials
	defer w.close()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { chainHop(ctx, w.nodes[0].endpoint, &w.nodes[1].Node) })
	wg.Go(func() { chainHop(ctx, w.nodes[1].endpoint, &w.nodes[2].Node) })
	wg.Go(func() { chainHop(ctx, w.nodes[2].endpoint, nil) })
	conn, err := w.nodes[3].endpoint.DialService(ctx, w.nodes[0].Node)
	check(b, err)
	s, err := conn.OpenStream(ctx)
	check(b, err)
	defer s.Abort()
	b.SetBytes(benchChunk)
	b.ResetTimer()
	for range b.N {
		_, err := s.Write([]byte{1})
		check(b, err)
		_, err = io.CopyN(io.Discard, s, benchChunk)
		check(b, err)
	}
}

// chainHop serves one stream: copies it to the next hop, or is its source.
func chainHop(ctx context.Context, ep *link.Endpoint, next *directory.Node) {
	conn, err := ep.AcceptService(ctx)
	if err != nil {
		return
	}
	in, err := conn.AcceptStream(ctx)
	if err != nil {
		return
	}
	defer in.Abort()
	if next == nil {
		source(serviceOnly{in})
		return
	}
	onward, err := ep.DialService(ctx, *next)
	if err != nil {
		return
	}
	out, err := onward.OpenStream(ctx)
	if err != nil {
		return
	}
	defer out.Abort()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(out, in)
		out.Abort()
	})
	_, _ = io.Copy(in, out)
	in.Abort()
	wg.Wait()
}

// serviceOnly hides a stream's other methods.
type serviceOnly struct{ io.ReadWriteCloser }

// BenchmarkRelayCell is what a relay spends on one cell that it forwards,
// without the network.
func BenchmarkRelayCell(b *testing.B) {
	c := offline(b)
	h := &hop{ch: sink{}}
	h.queue.c, h.queue.ch = c, h.ch
	c.next = h
	b.SetBytes(onion.CellSize)
	b.ReportAllocs()
	for done := 0; done < b.N; done += link.BatchCells {
		batch := link.NewBatch()
		for !batch.Full() {
			batch.Next().SetHeader(1, onion.CmdRelay)
		}
		if err := c.forward(batch); err != nil {
			b.Fatal(err)
		}
	}
	c.destroy(onion.ReasonDone)
	c.clear()
	c.wg.Wait()
}
