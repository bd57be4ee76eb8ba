package relay

import (
	"context"
	"sync"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// stallAfter is how long a stream may wait for its client before it is charged
// for what its service may have sent: longer than the round trips of those who
// read, so that not they are the heaviest when memory is short.
const stallAfter = time.Second

// sender puts a relay's own messages into cells toward the client, within the
// windows, and keeps the order of layers equal to the order of the queue.
type sender struct {
	c *circuit

	mu     sync.Mutex // guards what follows, and the layer toward the client
	room   sync.Cond  // of mu: a window has grown, or the sender is closed
	packer onion.Packer
	window onion.SendWindow
	closed bool
}

func (s *sender) init(c *circuit) {
	s.c = c
	s.room.L = &s.mu
}

// pass adds the relay's layer to cells of the next neighbour and queues them.
func (s *sender) pass(b *link.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Len() {
		s.c.layer.Inbound(b.Cell(i))
	}
	s.c.toPrev.push(b)
}

// send queues control messages, several in one cell if they fit.
func (s *sender) send(messages ...onion.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		if err := s.packer.Add(m); err != nil {
			return err
		}
	}
	return s.flushLocked()
}

// flushLocked makes cells of all that the packer holds.
func (s *sender) flushLocked() error {
	b, now := link.NewBatch(), time.Now()
	for s.packer.Pending() > 0 {
		if b.Full() {
			s.c.toPrev.push(b)
			b = link.NewBatch()
		}
		if err := s.cellLocked(b.Next(), now); err != nil {
			b.Release()
			return err
		}
	}
	s.c.toPrev.push(b)
	return nil
}

// cellLocked fills a cell, which is queued now, from the packer.
func (s *sender) cellLocked(cell *onion.Cell, now time.Time) error {
	cell.SetHeader(s.c.prev.CircID(), onion.CmdRelay)
	data, _ := s.packer.Next(cell.Payload())
	tag, err := s.c.layer.Originate(cell, cell.Payload())
	if err == nil && data {
		s.window.Sent(tag, now)
	}
	return err
}

// data sends p on a stream, waiting while the circuit's window is full. The
// stream's own window must have room for p.
func (s *sender) data(str *stream, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	str.sent.Sent(len(p))
	for len(p) > 0 {
		if err := s.waitLocked(str, s.window.Room); err != nil {
			return err
		}
		b, now := link.NewBatch(), time.Now()
		for len(p) > 0 && !b.Full() && s.window.Room() > 0 {
			n := min(len(p), onion.MaxData)
			err := s.packer.Add(onion.Message{Command: onion.MsgData, Stream: str.id, Data: p[:n]})
			if err == nil {
				err = s.cellLocked(b.Next(), now)
			}
			if err != nil {
				b.Release()
				return err
			}
			p = p[n:]
		}
		s.c.cover.sent(b.Len())
		s.c.toPrev.push(b)
	}
	return nil
}

// streamRoom waits until str may send, and returns how much.
func (s *sender) streamRoom(str *stream) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.waitLocked(str, str.sent.Room); err != nil {
		return 0, err
	}
	return str.sent.Room(), nil
}

// waitLocked waits until there is room for a stream's data. If that takes long,
// the stream counts for all that its service may send meanwhile: QUIC holds
// that, and nobody reads it (spec/circuit.md §4.7).
func (s *sender) waitLocked(str *stream, room func() int) error {
	if room() == 0 && !s.closed && !str.over {
		s.stallLocked(str, room)
	}
	if s.closed || str.over {
		return context.Canceled
	}
	return nil
}

func (s *sender) stallLocked(str *stream, room func() int) {
	over, charged := false, false
	t := time.AfterFunc(stallAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if over {
			return
		}
		charged = true
		if !s.c.account.add(link.ServiceWindow) {
			s.c.relay.shed()
		}
	})
	defer t.Stop()
	for room() == 0 && !s.closed && !str.over {
		s.room.Wait()
	}
	over = true
	if charged {
		s.c.account.add(-link.ServiceWindow)
	}
}

// acknowledge takes a SENDME of the circuit.
func (s *sender) acknowledge(tag onion.Tag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.Broadcast()
	return s.window.Acknowledge(tag, time.Now())
}

// acknowledgeStream takes a SENDME of a stream.
func (s *sender) acknowledgeStream(str *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.Broadcast()
	return str.sent.Acknowledge()
}

// endStream wakes a stream's reader that waits for room.
func (s *sender) endStream(str *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	str.over = true
	s.room.Broadcast()
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.room.Broadcast()
}
