package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// sink is a channel that swallows cells, for tests without a network.
type sink struct{}

func (sink) CircID() uint32                  { return 1 }
func (sink) Wait() error                     { return io.EOF }
func (sink) ReadBatch(*link.Batch) error     { return io.EOF }
func (sink) ReadCell(*onion.Cell) error      { return io.EOF }
func (sink) SetReadDeadline(time.Time) error { return nil }
func (sink) WriteBatch(*link.Batch) error    { return nil }
func (sink) WriteCells(...*onion.Cell) error { return nil }
func (sink) Abort(link.Code)                 {}

// offline is a relay without an endpoint, and a circuit of it.
func offline(t testing.TB) *circuit {
	t.Helper()
	network, nodes, err := directory.Local(directory.LocalConfig{
		Nodes: 3, Swarm: 1, Port: 1, Created: time.Unix(1_700_000_000, 0), Rand: rand.Reader,
	})
	check(t, err)
	dir, err := network.Directory()
	check(t, err)
	r := New(Config{Identity: nodes[0].Node.ID, OnionSecret: nodes[0].Onion, Directory: directory.Fixed(dir), Exit: newServices()})
	r.open = func(context.Context, directory.Node) (channel, error) { return nil, errors.New("offline") }
	_, keys := handshake(t, nodes[0].Node, nodes[0].Onion)
	c := newCircuit(context.Background(), r, sink{}, onion.NewRelayCircuit(keys))
	c.prevIsNode, c.prevNode = true, nodes[1].Node.ID
	return c
}

// handshake returns both ends' keys of a hop.
func handshake(t testing.TB, node directory.Node, secret suite.DHPrivate) (client, relay *onion.Keys) {
	t.Helper()
	h, create, err := onion.StartHandshake(rand.Reader, node.ID, node.OnionKey, onion.ClassStream, nil)
	check(t, err)
	created, relay, err := onion.AnswerHandshake(rand.Reader, node.ID, secret, create, noMessage)
	check(t, err)
	client, _, err = h.Finish(created)
	check(t, err)
	return client, relay
}

// earlySink is a sink that counts the RELAY_EARLY cells that it gets.
type earlySink struct {
	sink
	early *int
}

func (s earlySink) WriteBatch(b *link.Batch) error {
	for i := range b.Len() {
		if b.Cell(i).Command() == onion.CmdRelayEarly {
			*s.early++
		}
	}
	return nil
}

// FuzzRelayCells lets both neighbours write whatever headers they like on a
// circuit, 8 bytes a cell; the bodies are noise to the relay in any case.
// The relay takes whole cells until one is a breach, passes on no more
// RELAY_EARLY than a circuit has, none toward the client, and keeps nothing.
func FuzzRelayCells(f *testing.F) {
	cells := func(commands ...onion.Command) (out []byte) {
		for _, cmd := range commands {
			var cell onion.Cell
			cell.SetHeader(1, cmd)
			out = append(out, cell[:onion.HeaderSize]...)
		}
		return out
	}
	relayed, early := onion.CmdRelay, onion.CmdRelayEarly
	f.Add(cells(early, early, relayed, onion.CmdPadding), cells(relayed, relayed))
	f.Add(cells(early, early, early, early, early), cells(early))
	f.Add(cells(onion.CmdDestroy), cells(onion.CmdCreated))
	f.Add([]byte("not a cell"), make([]byte, 3*onion.HeaderSize))
	shared := offline(f)
	f.Fuzz(func(t *testing.T, away, toward []byte) {
		var passed, marked int
		c := newCircuit(context.Background(), shared.relay, earlySink{early: &marked}, shared.layer)
		h := &hop{ch: earlySink{early: &passed}}
		h.queue.c, h.queue.ch = c, h.ch
		c.next = h
		feed(away, func(b *link.Batch) error { return c.forward(b) })
		feed(toward, func(b *link.Batch) error { return c.backward(b, h) })
		c.wg.Wait() // the writers
		if passed > onion.MaxEarly || marked > 0 {
			t.Fatalf("%d RELAY_EARLY went on, %d back", passed, marked)
		}
		c.serve() // ends at once, since the channel has
		if n := c.relay.memory.total.Load(); n != 0 {
			t.Fatalf("%d bytes are held after the end", n)
		}
	})
}

// feed hands bytes over as the headers of cells, until take refuses some.
func feed(p []byte, take func(*link.Batch) error) {
	for len(p) >= onion.HeaderSize {
		b := link.NewBatch()
		for len(p) >= onion.HeaderSize && !b.Full() {
			cell := b.Next()
			*cell = onion.Cell{}
			copy(cell[:], p[:onion.HeaderSize])
			p = p[onion.HeaderSize:]
		}
		if take(b) != nil {
			return
		}
	}
}

// FuzzRelayMessages feeds payloads that a client sealed for a relay, two at a
// time, to the code that acts on them. Whatever they say, the relay neither
// fails nor keeps anything.
func FuzzRelayMessages(f *testing.F) {
	payload := func(messages ...onion.Message) []byte {
		var p onion.Packer
		for _, m := range messages {
			check(f, p.Add(m))
		}
		out := make([]byte, onion.PayloadSize)
		p.Next(out)
		return out
	}
	dir := offline(f).relay.cfg.Directory.Current().Nodes()
	f.Add(payload(onion.Begin(1, dir[0].ID), onion.Message{Command: onion.MsgData, Stream: 1, Data: []byte("x")}), payload(onion.End(1, onion.ReasonDone)))
	f.Add(payload(onion.Extend(dir[2].ID, make([]byte, onion.HandshakeSize))), payload(onion.Probe([8]byte{})))
	f.Add(payload(onion.Sendme(onion.Tag{1})), payload(onion.StreamSendme(1)))
	f.Add(payload(onion.Begin(1, identity.NodeID{1})), payload(onion.Message{Command: onion.MsgDrop}))
	f.Add(payload(onion.Cover(time.Minute, 5)), payload(onion.Cover(0, 2), onion.Cover(0, 0)))
	shared := offline(f)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := newCircuit(context.Background(), shared.relay, sink{}, shared.layer)
		c.prevIsNode, c.prevNode = true, shared.prevNode
		for _, p := range [][]byte{first, second} {
			if len(p) > onion.PayloadSize {
				p = p[:onion.PayloadSize]
			}
			if err := c.recognised(onion.CmdRelayEarly, p, onion.Tag{}); err != nil {
				break
			}
		}
		c.serve() // ends at once, since the channel has
		if n := c.relay.memory.total.Load(); n != 0 {
			t.Fatalf("%d bytes are held after the end", n)
		}
	})
}
