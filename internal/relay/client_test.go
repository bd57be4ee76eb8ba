package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// client is the least that can use a circuit: it keeps the windows, and hands
// out what it receives message by message.
type client struct {
	t        testing.TB
	endpoint *link.Endpoint
	ch       *link.Channel
	layers   onion.ClientCircuit

	events chan event // of the last hop; closed when the circuit has ended
	err    error      // why, once events is closed
	done   sync.WaitGroup

	mu     chanLock  // guards sealing, writing and what follows
	room   sync.Cond // of mu
	window onion.SendWindow
	stream map[uint16]*onion.StreamSendWindow
	ended  bool
}

// chanLock is a mutex that virtual time does not wait for: it is held while
// cells are written.
type chanLock chan struct{}

func (l chanLock) Lock()   { l <- struct{}{} }
func (l chanLock) Unlock() { <-l }

// event is a message with a copy of its data.
type event struct {
	hop int
	onion.Message
}

// dial opens a channel to the guard.
func (w *network) dial(guard *node) *client {
	w.t.Helper()
	ep, err := link.NewEndpoint(w.socket(netip.AddrFrom4([4]byte{127, 0, 0, 1})), link.Config{})
	check(w.t, err)
	return w.dialWith(ep, guard)
}

func (w *network) dialWith(ep *link.Endpoint, guard *node) *client {
	w.t.Helper()
	c := &client{t: w.t, endpoint: ep, events: make(chan event, 4096), stream: map[uint16]*onion.StreamSendWindow{}}
	c.mu = make(chanLock, 1)
	c.room.L = c.mu
	c.ch = openChannel(w.t, ep, guard)
	return c
}

func openChannel(t testing.TB, ep *link.Endpoint, guard *node) *link.Channel {
	t.Helper()
	l, err := ep.Get(context.Background(), guard.Node)
	check(t, err)
	ch, err := l.Open(context.Background())
	check(t, err)
	return ch
}

// circuit builds a circuit over path.
func (w *network) circuit(path ...*node) *client {
	w.t.Helper()
	c := w.dial(path[0])
	c.create(path[0])
	c.done.Go(c.read)
	for _, n := range path[1:] {
		c.extend(n)
	}
	return c
}

func (c *client) create(guard *node) {
	c.t.Helper()
	h, create, err := onion.StartHandshake(rand.Reader, guard.ID, guard.OnionKey, onion.ClassStream, nil)
	check(c.t, err)
	check(c.t, writeHandshake(c.ch, onion.CmdCreate, create))
	created, err := readHandshake(c.ch, onion.CmdCreated)
	check(c.t, err)
	keys, _, err := h.Finish(created)
	check(c.t, err)
	check(c.t, c.layers.AddHop(keys))
}

func (c *client) extend(n *node) {
	c.t.Helper()
	h, create, err := onion.StartHandshake(rand.Reader, n.ID, n.OnionKey, onion.ClassStream, nil)
	check(c.t, err)
	c.sendExtend(onion.Extend(n.ID, create))
	m := c.expect(onion.MsgExtended)
	created, err := m.Created()
	check(c.t, err)
	keys, _, err := h.Finish(created)
	check(c.t, err)
	check(c.t, c.layers.AddHop(keys))
}

// send sends messages to the last hop, packed together.
func (c *client) send(messages ...onion.Message) {
	c.t.Helper()
	check(c.t, c.trySend(c.layers.Hops()-1, messages...))
}

func (c *client) trySend(hop int, messages ...onion.Message) error {
	return c.trySendAs(onion.CmdRelay, hop, messages...)
}

// sendExtend sends m as an EXTEND is sent.
func (c *client) sendExtend(m onion.Message) {
	c.t.Helper()
	check(c.t, c.trySendAs(onion.CmdRelayEarly, c.layers.Hops()-1, m))
}

func (c *client) trySendAs(cmd onion.Command, hop int, messages ...onion.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var p onion.Packer
	for _, m := range messages {
		if err := p.Add(m); err != nil {
			return err
		}
	}
	for p.Pending() > 0 {
		var cell onion.Cell
		cell.SetHeader(c.ch.CircID(), cmd)
		data, _ := p.Next(cell.Payload())
		tag, err := c.layers.Seal(hop, &cell, cell.Payload())
		if err != nil {
			return err
		}
		if data {
			c.window.Sent(tag, time.Now())
		}
		if err := c.ch.WriteCells(&cell); err != nil {
			return err
		}
	}
	return nil
}

// write sends p on a stream within the windows.
func (c *client) write(stream uint16, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.streamLocked(stream)
	for len(p) > 0 {
		for (c.window.Room() == 0 || w.Room() == 0) && !c.ended {
			c.room.Wait()
		}
		if c.ended {
			return errors.New("circuit ended")
		}
		b := link.NewBatch()
		for len(p) > 0 && !b.Full() && c.window.Room() > 0 && w.Room() > 0 {
			n := min(len(p), onion.MaxData, w.Room())
			var packer onion.Packer
			_ = packer.Add(onion.Message{Command: onion.MsgData, Stream: stream, Data: p[:n]})
			cell := b.Next()
			cell.SetHeader(c.ch.CircID(), onion.CmdRelay)
			packer.Next(cell.Payload())
			tag, err := c.layers.Seal(c.layers.Hops()-1, cell, cell.Payload())
			if err != nil {
				return err
			}
			c.window.Sent(tag, time.Now())
			w.Sent(n)
			p = p[n:]
		}
		err := c.ch.WriteBatch(b)
		b.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) streamLocked(id uint16) *onion.StreamSendWindow {
	if c.stream[id] == nil {
		c.stream[id] = &onion.StreamSendWindow{}
	}
	return c.stream[id]
}

// read opens cells until the circuit ends.
func (c *client) read() {
	unpackers := make([]onion.Unpacker, onion.MaxHops)
	var window onion.ReceiveWindow
	for {
		b := link.NewBatch()
		err := c.ch.ReadBatch(b)
		for i := 0; err == nil && i < b.Len(); i++ {
			err = c.open(b.Cell(i), unpackers, &window)
		}
		b.Release()
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *client) open(cell *onion.Cell, unpackers []onion.Unpacker, window *onion.ReceiveWindow) error {
	if err := onion.CheckHeader(cell); err != nil {
		return err
	}
	if cell.Command() == onion.CmdPadding {
		return nil
	}
	hop, payload, tag, err := c.layers.Open(cell)
	if err != nil {
		return err
	}
	data, err := unpackers[hop].Feed(payload, func(m onion.Message) error { return c.handle(hop, m) })
	if err == nil && data && window.Received() {
		err = c.trySend(hop, onion.Sendme(tag))
	}
	return err
}

func (c *client) handle(hop int, m onion.Message) error {
	if m.Command != onion.MsgSendme {
		m.Data = append([]byte(nil), m.Data...)
		c.events <- event{hop, m}
		return nil
	}
	tag, err := m.SendmeTag()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room.Broadcast()
	if m.Stream == 0 {
		return c.window.Acknowledge(tag, time.Now())
	}
	return c.streamLocked(m.Stream).Acknowledge()
}

func (c *client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.ended = err, true
	c.room.Broadcast()
	close(c.events)
}

// expect returns the next message, which must be cmd.
func (c *client) expect(cmd onion.MsgCommand) onion.Message {
	c.t.Helper()
	e, ok := <-c.events
	if !ok {
		c.t.Fatalf("circuit ended where %v is due: %v", cmd, c.err)
	}
	if e.Command != cmd {
		c.t.Fatalf("got %v on stream %d, want %v", e.Command, e.Stream, cmd)
	}
	return e.Message
}

// expectEnd waits for the circuit's end and checks that its reason is one of
// those given.
func (c *client) expectEnd(want ...onion.Reason) {
	c.t.Helper()
	for range c.events { // what was under way
	}
	var reset *link.ResetError
	if !errors.As(c.err, &reset) || !slices.Contains(want, onion.Reason(reset.Code)) {
		c.t.Errorf("circuit ended with %v (%v), want %v", c.err, reasonOf(c.err), want)
	}
}

// consume tells the exit that n bytes of the stream have left.
func (c *client) consume(stream uint16, window *onion.StreamReceiveWindow, n int) {
	c.t.Helper()
	check(c.t, window.Received(n))
	for range window.Consumed(n) {
		if err := c.trySend(c.layers.Hops()-1, onion.StreamSendme(stream)); err != nil {
			return // the circuit ended; the reader says why
		}
	}
}

// close destroys the circuit and ends the client.
func (c *client) close() {
	c.ch.Abort(link.Code(onion.ReasonDone))
	c.done.Wait()
	check(c.t, c.endpoint.Close())
}
