package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/onion"
)

// ErrPartialCell is returned when a channel ends within a cell.
var ErrPartialCell = errors.New("link: channel ended within a cell")

// ErrLost is returned when the connection under a channel or a service stream
// is gone: closed by either side, reset, or silent for too long.
var ErrLost = errors.New("link: connection is gone")

// Code says why a channel was reset (spec/link.md §6).
type Code uint32

// ResetError says that a channel was reset, by the peer or by us.
type ResetError struct {
	Code   Code
	Remote bool
}

// Error implements error.
func (e *ResetError) Error() string { return "link: channel was reset" }

// Channel is one circuit's place on a link: a stream of whole cells and
// nothing else. One goroutine may read while others write; each write goes out
// in one piece.
type Channel struct {
	str stream
	id  uint32
	pad *pad // of its link

	// Of the goroutine that reads.
	peeked [onion.CellSize]byte // what Wait looks at
	part   []byte               // the start of a cell that ReadBatch left over
	ready  *Batch               // cells that ReadCell has not handed out
	next   int                  // the first of them
}

// stream is what a channel needs of a *quic.Stream.
type stream interface {
	io.ReadWriteCloser
	TryWriteAll([]byte) error
	Peek([]byte) (int, error)
	CancelRead(quic.StreamErrorCode)
	CancelWrite(quic.StreamErrorCode)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

func newChannel(s *quic.Stream, p *pad) *Channel {
	return &Channel{str: s, id: uint32(s.StreamID()>>2) + 1, pad: p}
}

// CircID returns the circuit id that all cells on this channel bear: it counts
// the link's channels from 1, so that both ends know it (spec/link.md §4.2).
func (c *Channel) CircID() uint32 { return c.id }

// Wait returns when a whole cell has arrived or the channel has ended. It
// holds no batch, so that an idle circuit, or one with half a cell, costs
// little.
func (c *Channel) Wait() error {
	if c.ready != nil {
		return nil
	}
	n, err := c.str.Peek(c.peeked[len(c.part):])
	if err == io.EOF && n+len(c.part) > 0 {
		return ErrPartialCell
	}
	return streamError(err)
}

// ReadBatch fills b, which must be empty, with at least one cell and as many
// as have arrived. The error is io.EOF when the peer closed the channel after
// a whole cell.
func (c *Channel) ReadBatch(b *Batch) error {
	if c.ready != nil {
		return c.readLeft(b)
	}
	got := copy(b.buf[:], c.part)
	c.part = c.part[:0]
	for got < onion.CellSize {
		n, err := c.str.Read(b.buf[got:])
		got += n
		if err == nil {
			continue
		}
		if got >= onion.CellSize {
			break // the error comes again with the next call
		}
		c.part = append(c.part, b.buf[:got]...) // a deadline may be extended
		if err == io.EOF && got > 0 {
			return ErrPartialCell
		}
		return streamError(err)
	}
	c.pad.touch()
	b.n = got / onion.CellSize
	c.part = append(c.part, b.buf[b.n*onion.CellSize:got]...)
	return nil
}

// readLeft hands out what ReadCell had read ahead.
func (c *Channel) readLeft(b *Batch) error {
	for ; c.next < c.ready.n; c.next++ {
		*b.Next() = *c.ready.Cell(c.next)
	}
	c.release()
	return nil
}

func (c *Channel) release() {
	c.ready.Release()
	c.ready, c.next = nil, 0
}

// ReadCell reads the next cell. It reads ahead what has arrived.
func (c *Channel) ReadCell(cell *onion.Cell) error {
	if c.ready == nil {
		if err := c.Wait(); err != nil {
			return err
		}
		b := NewBatch()
		if err := c.ReadBatch(b); err != nil {
			b.Release()
			return err
		}
		c.ready = b
	}
	*cell = *c.ready.Cell(c.next)
	if c.next++; c.next == c.ready.n {
		c.release()
	}
	return nil
}

// WriteBatch writes the cells of b in one Write. It waits while the peer's
// window is full.
func (c *Channel) WriteBatch(b *Batch) error {
	_, err := c.str.Write(b.Bytes())
	c.pad.touch()
	return streamError(err)
}

// WriteCells writes the cells, several with one Write.
func (c *Channel) WriteCells(cells ...*onion.Cell) error {
	b := NewBatch()
	defer b.Release()
	for len(cells) > 0 {
		b.n = 0
		for len(cells) > 0 && !b.Full() {
			*b.Next() = *cells[0]
			cells = cells[1:]
		}
		if err := c.WriteBatch(b); err != nil {
			return err
		}
	}
	return nil
}

// CloseWrite ends our direction after the cells that were written. Not
// concurrent with a write.
func (c *Channel) CloseWrite() error {
	c.pad.remove(c)
	return c.str.Close()
}

// Close ends our direction after the cells that were written, and refuses what
// the peer may still send. Not concurrent with a write; Abort is.
func (c *Channel) Close() error {
	c.pad.remove(c)
	c.str.CancelRead(0)
	return c.str.Close()
}

// Abort resets both directions; blocked calls return. Cells that the peer has
// not received may be lost.
func (c *Channel) Abort(code Code) {
	c.pad.remove(c)
	c.str.CancelRead(quic.StreamErrorCode(code))
	c.str.CancelWrite(quic.StreamErrorCode(code))
}

// SetReadDeadline bounds reads. A read that it interrupts loses nothing.
func (c *Channel) SetReadDeadline(t time.Time) error { return c.str.SetReadDeadline(t) }

// SetWriteDeadline bounds writes. A write that it interrupts may leave half a
// cell on the wire: the channel must then be aborted.
func (c *Channel) SetWriteDeadline(t time.Time) error { return c.str.SetWriteDeadline(t) }

// streamError turns QUIC's errors into ours; io.EOF and deadlines pass.
func streamError(err error) error {
	var reset *quic.StreamError
	switch {
	case err == nil, err == io.EOF:
		return err
	case errors.As(err, &reset):
		return &ResetError{Code: Code(reset.ErrorCode), Remote: reset.Remote}
	case errors.Is(err, net.ErrClosed): // every error of a QUIC connection is one
		return fmt.Errorf("%w: %v", ErrLost, err)
	}
	return err
}
