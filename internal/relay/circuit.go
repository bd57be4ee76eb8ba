package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// channel is what a circuit needs of a *link.Channel.
type channel interface {
	CircID() uint32
	Wait() error
	ReadBatch(*link.Batch) error
	ReadCell(*onion.Cell) error
	SetReadDeadline(time.Time) error
	WriteBatch(*link.Batch) error
	WriteCells(...*onion.Cell) error
	Abort(link.Code)
}

// circuit is a relay's state of one circuit (spec/circuit.md §4).
type circuit struct {
	relay   *Relay
	layer   *onion.RelayCircuit
	account account

	prev       channel
	prevNode   identity.NodeID // if prevIsNode
	prevIsNode bool

	moved atomic.Bool // a RELAY cell came since it was looked at last
	looks int         // in a row without; guarded by Relay.mu

	// Of the goroutine that reads prev alone.
	unpacker onion.Unpacker
	received onion.ReceiveWindow
	early    early
	replies  []onion.Message // to the cell at hand

	toPrev queue
	sender sender // the relay's own cells, and the order of all, toward the client
	cover  cover  // the dummies that the client asked for

	ctx    context.Context // done when the circuit is being destroyed
	cancel context.CancelFunc
	once   sync.Once // of destroy

	mu        sync.Mutex // guards what follows
	wg        sync.WaitGroup
	closed    bool
	why       onion.Reason
	extending bool
	next      *hop
	streams   map[uint16]*stream
}

// hop is a circuit's next neighbour.
type hop struct {
	ch    channel
	queue queue
}

func newCircuit(ctx context.Context, r *Relay, prev channel, layer *onion.RelayCircuit) *circuit {
	c := &circuit{relay: r, layer: layer, prev: prev}
	c.account.memory = &r.memory
	c.toPrev.c, c.toPrev.ch = c, prev
	c.sender.init(c)
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// spawn runs f in a goroutine of the circuit, unless it is being destroyed.
func (c *circuit) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// destroy ends the circuit. It is safe from anywhere and returns at once; the
// goroutine in serve clears up.
func (c *circuit) destroy(why onion.Reason) {
	c.once.Do(func() {
		c.mu.Lock()
		c.closed, c.why = true, why
		c.mu.Unlock()
		c.account.close()
		c.cancel()
		c.prev.Abort(link.Code(why))
	})
}

// serve reads the previous channel until the circuit ends, and frees it.
func (c *circuit) serve() {
	stop := context.AfterFunc(c.ctx, func() { c.destroy(onion.ReasonShutdown) })
	err := c.readPrev()
	c.destroy(reasonOf(err))
	stop()
	c.clear()
	c.wg.Wait()
	c.relay.metrics.ended(c.why)
	c.relay.cfg.Logger.Debug("relay: circuit ended", "reason", c.why.String())
}

// clear resets everything that a goroutine of the circuit may wait for, and
// drops what is queued.
func (c *circuit) clear() {
	c.mu.Lock()
	next, streams := c.next, c.streams
	c.streams = nil
	c.mu.Unlock()
	c.cover.close()
	c.toPrev.close()
	if next != nil {
		// What lies before this relay is nobody's business after it.
		next.ch.Abort(link.Code(onion.ReasonDone))
		next.queue.close()
	}
	c.sender.close()
	for _, s := range streams {
		s.abort()
	}
}

// readPrev is spec/circuit.md §4.2. It returns why it ended, never nil.
func (c *circuit) readPrev() error {
	for {
		if err := c.prev.Wait(); err != nil {
			return err
		}
		b := link.NewBatch()
		err := c.prev.ReadBatch(b)
		if err == nil {
			err = c.forward(b)
		} else {
			b.Release()
		}
		if err != nil {
			return err
		}
	}
}

// forward processes cells from the previous neighbour, and passes on what is
// not for this relay. The batch is consumed.
func (c *circuit) forward(b *link.Batch) error {
	next := c.nextHop()
	kept := 0
	for i := range b.Len() {
		cell := b.Cell(i)
		relayed, err := c.checkCell(cell, c.prev)
		if err == nil {
			err = c.early.count(cell.Command())
		}
		if err != nil {
			b.Release()
			return err
		}
		if !relayed {
			continue
		}
		mine, payload, tag := c.layer.Outbound(cell)
		switch {
		case mine:
			err = c.recognised(cell.Command(), payload, tag)
		case next == nil:
			err = errProtocol
		default:
			cell.SetCircID(next.ch.CircID())
			if kept != i {
				*b.Cell(kept) = *cell
			}
			kept++
		}
		if err != nil {
			b.Release()
			return err
		}
	}
	b.Truncate(kept)
	if kept == 0 {
		b.Release()
		return nil
	}
	c.relay.metrics.away.Add(float64(kept))
	next.queue.push(b)
	return nil
}

// checkCell checks a cell's header and reports whether it is a RELAY cell;
// DESTROY comes back as an error. RELAY_EARLY is one only from the previous
// neighbour: toward the client a relay could mark a circuit with it.
func (c *circuit) checkCell(cell *onion.Cell, from channel) (relayed bool, err error) {
	if err := onion.CheckHeader(cell); err != nil {
		return false, err
	}
	if cell.CircID() != from.CircID() {
		return false, errProtocol
	}
	switch cell.Command() {
	case onion.CmdRelay:
		c.move()
		return true, nil
	case onion.CmdRelayEarly:
		if from == c.prev {
			c.move()
			return true, nil
		}
	case onion.CmdPadding:
		return false, nil
	case onion.CmdDestroy:
		return false, &destroyedError{cell.DestroyReason()}
	}
	return false, errProtocol
}

// move notes that the circuit is not idle. It writes only where that is news:
// two goroutines and the look for idle circuits share the place.
func (c *circuit) move() {
	if !c.moved.Load() {
		c.moved.Store(true)
	}
}

func (c *circuit) nextHop() *hop {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// serveNext is spec/circuit.md §4.3.
func (c *circuit) serveNext(h *hop) {
	for {
		err := h.ch.Wait()
		if err == nil {
			b := link.NewBatch()
			if err = h.ch.ReadBatch(b); err == nil {
				err = c.backward(b, h)
			} else {
				b.Release()
			}
		}
		if err != nil {
			c.destroy(reasonOf(err))
			return
		}
	}
}

// backward adds the relay's layer to cells that pass toward the client. The
// batch is consumed.
func (c *circuit) backward(b *link.Batch, from *hop) error {
	kept := 0
	for i := range b.Len() {
		cell := b.Cell(i)
		relayed, err := c.checkCell(cell, from.ch)
		if err != nil {
			b.Release()
			return err
		}
		if !relayed {
			continue
		}
		cell.SetCircID(c.prev.CircID())
		if kept != i {
			*b.Cell(kept) = *cell
		}
		kept++
	}
	b.Truncate(kept)
	c.relay.metrics.toward.Add(float64(kept))
	c.sender.pass(b)
	return nil
}
