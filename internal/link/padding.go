package link

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/onion"
	"sotto/internal/padding"
)

// rearmGrain is how long after the padding timer was armed a cell does not arm
// it again: on a busy link it need not be drawn for every cell, and a link that
// falls silent notices no difference.
const rearmGrain = 50 * time.Millisecond

// pad is the link padding of one end of a link between a client and its guard
// (spec/padding.md §5.1). A nil pad pads nothing: that of a link between nodes.
type pad struct {
	rand io.Reader

	mu       sync.Mutex // guards what follows
	channels []*Channel // of circuits that stand
	timer    *time.Timer
	armed    time.Time
	closed   bool
}

// newPad returns the padding of a link to or from a client. It ends with the
// connection, and Close of the endpoint waits for that.
func (e *Endpoint) newPad(conn *quic.Conn) *pad {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		return nil // closing
	}
	p := &pad{rand: e.cfg.Rand}
	e.wg.Add(1)
	context.AfterFunc(conn.Context(), func() {
		defer e.wg.Done()
		p.close()
	})
	return p
}

// AllowPadding says that the channel's circuit stands: from now on PADDING
// cells may ride on it. On a link between nodes it does nothing.
func (c *Channel) AllowPadding() {
	if c.pad != nil {
		c.pad.add(c)
	}
}

func (p *pad) add(c *Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.channels = append(p.channels, c)
	if len(p.channels) == 1 {
		p.armLocked()
	}
}

// remove takes a channel away that ends; without any, nothing is sent.
func (p *pad) remove(c *Channel) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(c)
}

func (p *pad) removeLocked(c *Channel) {
	for i, have := range p.channels {
		if have == c {
			last := len(p.channels) - 1
			p.channels[i], p.channels[last] = p.channels[last], nil
			p.channels = p.channels[:last]
		}
	}
	if len(p.channels) == 0 && p.timer != nil {
		p.timer.Stop()
	}
}

// touch arms the timer anew, since cells went over the link in either direction.
func (p *pad) touch() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.channels) > 0 && time.Since(p.armed) >= rearmGrain {
		p.armLocked()
	}
}

func (p *pad) armLocked() {
	delay, err := padding.LinkDelay(p.rand)
	if err != nil {
		delay = padding.LinkMax // silence would tell more
	}
	p.armed = time.Now()
	if p.timer == nil {
		p.timer = time.AfterFunc(delay, p.fire)
		return
	}
	p.timer.Reset(delay)
}

// fire sends one PADDING cell. It waits for nobody: a channel whose writer is
// blocked, or whose window is full, has cells on their way.
func (p *pad) fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.channels) > 0 {
		i, err := padding.Pick(p.rand, len(p.channels))
		if err != nil {
			i = 0
		}
		c := p.channels[i]
		var cell onion.Cell
		cell.SetHeader(c.id, onion.CmdPadding)
		err = c.str.TryWriteAll(cell[:])
		if err == nil || errors.Is(err, quic.ErrWouldBlock) {
			p.armLocked()
			return
		}
		p.removeLocked(c) // it has ended
	}
}

func (p *pad) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.channels = true, nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
