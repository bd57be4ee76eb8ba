package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/simnet"
)

// linkLatency is the one-way delay in tests on virtual time.
const linkLatency = 10 * time.Millisecond

// inSim runs a test in virtual time on a network of n relays.
func inSim(t *testing.T, n int, limits Limits, test func(*testing.T, *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: linkLatency})
		defer sim.Close()
		w := newNetwork(t, n, sim, limits)
		defer w.close()
		test(t, w)
	})
}

func TestThreeHopsEcho(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		// Early data rides in the same cell as BEGIN.
		c.send(onion.Begin(7, w.nodes[3].ID), onion.Message{Command: onion.MsgData, Stream: 7, Data: []byte("question")})
		c.expect(onion.MsgConnected)
		if m := c.expect(onion.MsgData); string(m.Data) != "question" || m.Stream != 7 {
			t.Fatalf("echo of %q on stream %d", m.Data, m.Stream)
		}
		c.send(onion.Probe([8]byte{1, 2}))
		if token, err := c.expect(onion.MsgProbeReply).Token(); err != nil || token != [8]byte{1, 2} {
			t.Fatalf("probe's answer %v, %v", token, err)
		}
		check(t, c.trySend(0, onion.Message{Command: onion.MsgDrop}, onion.Probe([8]byte{3})))
		if e := <-c.events; e.hop != 0 || e.Command != onion.MsgProbeReply {
			t.Fatalf("guard answered %v as hop %d", e.Command, e.hop)
		}
		c.send(onion.Message{Command: onion.MsgData, Stream: 7, Data: []byte("last")}, onion.End(7, onion.ReasonDone))
		if m := c.expect(onion.MsgData); string(m.Data) != "last" {
			t.Fatalf("echo of %q", m.Data)
		}
		if why, err := c.expect(onion.MsgEnd).Reason(); err != nil || why != onion.ReasonDone {
			t.Fatalf("stream ended with %v, %v", why, err)
		}
		synctest.Wait()
		if n := w.nodes[2].exit.open(); n != 0 {
			t.Fatalf("%d service streams after both directions ended", n)
		}
		c.send(onion.Begin(7, w.nodes[3].ID)) // the number is free again
		c.expect(onion.MsgConnected)
	})
}

// bulk sends size bytes through an echo and checks what comes back.
func bulk(t testing.TB, c *client, stream uint16, target identity.NodeID, size int) {
	t.Helper()
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(i * 7 / 3)
	}
	c.send(onion.Begin(stream, target))
	c.expect(onion.MsgConnected)
	written := make(chan error, 1)
	go func() {
		err := c.write(stream, sent)
		if err == nil {
			err = c.trySend(c.layers.Hops()-1, onion.End(stream, onion.ReasonDone))
		}
		written <- err
	}()
	var window onion.StreamReceiveWindow
	got := 0
	for e := range c.events {
		if e.Command == onion.MsgEnd {
			break
		}
		if !bytes.HasPrefix(sent[got:], e.Data) {
			t.Fatalf("bytes after %d differ", got)
		}
		got += len(e.Data)
		c.consume(stream, &window, len(e.Data))
	}
	if got != size {
		t.Fatalf("%d of %d bytes came back: %v", got, size, c.err)
	}
	check(t, <-written)
}

func TestBulkThroughWindows(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		bulk(t, c, 1, w.nodes[3].ID, 6<<20)
	})
}

// Lost packets delay cells and change nothing.
func TestBulkOverLossyLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var packets atomic.Int64
		sim := simnet.New(simnet.Config{
			Latency: linkLatency,
			Drop:    func(netip.AddrPort, netip.AddrPort, int) bool { return packets.Add(1)%53 == 0 },
		})
		defer sim.Close()
		w := newNetwork(t, 4, sim, Limits{})
		defer w.close()
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		bulk(t, c, 1, w.nodes[3].ID, 1<<20)
	})
}

func TestRefusals(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		stranger := identity.NodeID{1, 2, 3}
		ends := map[string]struct {
			do   func(*client)
			want onion.Reason
		}{
			"extend to a stranger":     {func(c *client) { c.sendExtend(onion.Extend(stranger, make([]byte, onion.HandshakeSize))) }, onion.ReasonUnknownNode},
			"extend to itself":         {func(c *client) { c.sendExtend(onion.Extend(w.nodes[1].ID, make([]byte, onion.HandshakeSize))) }, onion.ReasonRefused},
			"extend back":              {func(c *client) { c.sendExtend(onion.Extend(w.nodes[0].ID, make([]byte, onion.HandshakeSize))) }, onion.ReasonRefused},
			"extend without handshake": {func(c *client) { c.sendExtend(onion.Extend(w.nodes[2].ID, make([]byte, onion.HandshakeSize))) }, onion.ReasonVersion},
			"malformed extend":         {func(c *client) { c.sendExtend(onion.Message{Command: onion.MsgExtend, Data: []byte{1}}) }, onion.ReasonProtocol},
			"relay's message":          {func(c *client) { c.send(onion.Connected(1)) }, onion.ReasonProtocol},
			"sendme for nothing":       {func(c *client) { c.send(onion.Sendme(onion.Tag{1})) }, onion.ReasonProtocol},
			"empty data":               {func(c *client) { c.send(onion.Message{Command: onion.MsgData, Stream: 1}) }, onion.ReasonProtocol},
			"stream begun twice": {func(c *client) {
				c.send(onion.Begin(1, w.nodes[3].ID), onion.Begin(1, w.nodes[3].ID))
			}, onion.ReasonProtocol},
			"data after end": {func(c *client) {
				c.send(onion.Begin(1, w.nodes[3].ID), onion.End(1, onion.ReasonDone), onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("x")})
			}, onion.ReasonProtocol},
			"cell of another circuit": {func(c *client) {
				var cell onion.Cell
				cell.SetHeader(99, onion.CmdRelay)
				check(t, c.ch.WriteCells(&cell))
			}, onion.ReasonProtocol},
			"create again": {func(c *client) {
				var cell onion.Cell
				cell.SetHeader(c.ch.CircID(), onion.CmdCreate)
				check(t, c.ch.WriteCells(&cell))
			}, onion.ReasonProtocol},
			"noise": {func(c *client) {
				var cell onion.Cell
				cell.SetHeader(c.ch.CircID(), onion.CmdRelay)
				check(t, c.ch.WriteCells(&cell))
			}, onion.ReasonProtocol},
			"destroy": {func(c *client) {
				var cell onion.Cell
				cell.SetDestroy(c.ch.CircID(), onion.ReasonDone)
				check(t, c.ch.WriteCells(&cell))
			}, onion.ReasonDone},
		}
		for name, tc := range ends {
			c := w.circuit(w.nodes[0], w.nodes[1])
			tc.do(c)
			t.Log(name)
			c.expectEnd(tc.want)
			c.close()
		}
	})
}

func TestStreamRefusals(t *testing.T) {
	inSim(t, 4, Limits{BeginTimeout: time.Second}, func(t *testing.T, w *network) {
		end := func(c *client, want onion.Reason) {
			t.Helper()
			if why, err := c.expect(onion.MsgEnd).Reason(); err != nil || why != want {
				t.Errorf("stream ended with %v, %v, want %v", why, err, want)
			}
		}
		c := w.circuit(w.nodes[0], w.nodes[1])
		defer c.close()
		check(t, c.trySend(0, onion.Begin(1, w.nodes[3].ID)))
		end(c, onion.ReasonRefused) // the guard is nobody's exit
		c.send(onion.Begin(1, identity.NodeID{9}))
		end(c, onion.ReasonUnknownNode)
		exit := w.nodes[1].exit
		exit.dial = func(context.Context, identity.NodeID) error { return errors.New("no") }
		c.send(onion.Begin(2, w.nodes[3].ID))
		end(c, onion.ReasonUnreachable)
		exit.dial = func(ctx context.Context, _ identity.NodeID) error { <-ctx.Done(); return ctx.Err() }
		c.send(onion.Begin(3, w.nodes[3].ID))
		end(c, onion.ReasonTimeout)
		exit.dial = nil
		for i := range onion.MaxStreams + 1 {
			c.send(onion.Begin(uint16(10+i), w.nodes[3].ID))
		}
		got := map[onion.MsgCommand]int{}
		for range onion.MaxStreams + 1 {
			e := <-c.events
			got[e.Command]++
			if why, err := e.Reason(); e.Command == onion.MsgEnd && (err != nil || why != onion.ReasonLimit) {
				t.Errorf("stream ended with %v, %v", why, err)
			}
		}
		if got[onion.MsgConnected] != onion.MaxStreams || got[onion.MsgEnd] != 1 {
			t.Errorf("answers to %d BEGINs: %v", onion.MaxStreams+1, got)
		}
		c.send(onion.End(10, onion.ReasonInternal)) // a reset frees the place at once
		c.send(onion.Begin(100, w.nodes[3].ID))
		c.expect(onion.MsgConnected)
	})
}

// A service that answers and closes before it has read everything still gets
// its answer through.
func TestServiceClosesEarly(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		w.nodes[2].exit.serve = func(rwc io.ReadWriteCloser) {
			_, _ = io.ReadFull(rwc, make([]byte, 1))
			_ = rwc.(*pipe).PipeReader.Close()
			_, _ = rwc.Write([]byte("enough"))
		}
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		c.send(onion.Begin(1, w.nodes[3].ID))
		check(t, c.write(1, make([]byte, 1<<20)))
		c.send(onion.End(1, onion.ReasonDone))
		c.expect(onion.MsgConnected)
		if m := c.expect(onion.MsgData); string(m.Data) != "enough" {
			t.Fatalf("got %q", m.Data)
		}
		if why, err := c.expect(onion.MsgEnd).Reason(); err != nil || why != onion.ReasonDone {
			t.Fatalf("stream ended with %v, %v", why, err)
		}
	})
}
