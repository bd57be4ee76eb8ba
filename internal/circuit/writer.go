package circuit

import (
	"sotto/internal/link"
	"sotto/internal/onion"
)

// writeLoop packs what waits into cells, as many as there are at once, and
// writes them together.
func (c *circuit) writeLoop() {
	for {
		b := link.NewBatch()
		err := c.fillBatch(b)
		if b.Len() > 0 {
			c.wrote(b.Len())
		} else if err == nil {
			err = c.fillCover(b)
		}
		n := b.Len()
		if err == nil && n > 0 {
			err = c.ch.WriteBatch(b)
		}
		b.Release()
		if err != nil {
			c.failChannel(err)
			return
		}
		if n > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
	}
}

// fillBatch packs and seals cells until nothing waits or the batch is full.
func (c *circuit) fillBatch(b *link.Batch) error {
	var data [link.BatchCells]bool
	c.mu.Lock()
	room := c.window.Room()
	for c.err == nil && !b.Full() {
		cell := b.Next()
		counts, ok := c.packLocked(cell.Payload(), room)
		if !ok {
			b.Truncate(b.Len() - 1)
			break
		}
		cell.SetHeader(c.ch.CircID(), onion.CmdRelay)
		if counts {
			data[b.Len()-1] = true
			room--
		}
	}
	c.mu.Unlock()
	// Sealing needs no lock: writeLoop alone seals, and it counts a cell in
	// the window before the cell can be acknowledged.
	var tags [link.BatchCells]onion.Tag
	for i := range b.Len() {
		var err error
		if tags[i], err = c.onion.Seal(exitHop, b.Cell(i), b.Cell(i).Payload()); err != nil {
			return err
		}
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b.Len() {
		if data[i] {
			c.window.Sent(tags[i], now)
		}
	}
	return nil
}

// packLocked lays out one payload: first what no window holds back, then the
// streams' bytes in turn, as far as windows allow (spec/circuit.md §5.5).
func (c *circuit) packLocked(payload []byte, room int) (data, ok bool) {
	for room > 0 && len(c.ready) > 0 {
		free := onion.PayloadSize - c.control.Pending() - onion.MessageHeaderSize
		if free <= 0 {
			break
		}
		s := c.ready[0]
		c.ready = c.ready[1:]
		s.queued = false
		if n := min(free, s.out.Len(), s.send.Room()); n > 0 {
			// The packer has room: a payload's worth is far below its bound.
			_ = c.control.Add(onion.Message{Command: onion.MsgData, Stream: s.id, Data: s.out.Next(n)})
			s.sentLocked(n)
		}
		s.finishLocked()
		s.queueLocked()
	}
	return c.control.Next(payload)
}
