package relay

import (
	"context"
	"errors"
	"time"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// handleExtend starts an extension (spec/circuit.md §4.4).
func (c *circuit) handleExtend(m onion.Message) error {
	id, create, err := m.Extension()
	if err != nil {
		return err
	}
	c.mu.Lock()
	busy := c.extending || c.next != nil
	c.extending = true
	c.mu.Unlock()
	if busy {
		return errProtocol
	}
	node, ok := directory.Listed(c.relay.cfg.Directory, id) // clients may be behind
	if !ok {
		return &destroyedError{onion.ReasonUnknownNode}
	}
	if id == c.relay.cfg.Identity || c.prevIsNode && id == c.prevNode {
		return &destroyedError{onion.ReasonRefused}
	}
	create = append([]byte(nil), create...)
	c.spawn(func() {
		if err := c.extend(node, create); err != nil {
			c.destroy(extendReason(err))
		}
	})
	return nil
}

// extend makes the next hop and tells the client.
func (c *circuit) extend(node directory.Node, create []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.relay.limits.ExtendTimeout)
	defer cancel()
	ch, err := c.relay.open(ctx, node)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ch.Abort(link.Code(onion.ReasonDone)) })
	created, err := exchange(ctx, ch, create)
	if err != nil || !stop() {
		ch.Abort(link.Code(onion.ReasonDone))
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return err
	}
	h := &hop{ch: ch}
	h.queue.c, h.queue.ch = c, ch
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		ch.Abort(link.Code(onion.ReasonDone))
		return nil
	}
	c.next, c.extending = h, false
	c.wg.Go(func() { c.serveNext(h) })
	c.mu.Unlock()
	return c.sender.send(onion.Extended(created))
}

// openChannel opens a channel on the link to node.
func (r *Relay) openChannel(ctx context.Context, node directory.Node) (channel, error) {
	l, err := r.cfg.Endpoint.Get(ctx, node)
	if err != nil {
		return nil, err
	}
	return l.Open(ctx)
}

// exchange writes CREATE and reads CREATED.
func exchange(ctx context.Context, ch channel, create []byte) ([]byte, error) {
	if err := writeHandshake(ch, onion.CmdCreate, create); err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := ch.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
	}
	created, err := readHandshake(ch, onion.CmdCreated)
	if err != nil {
		return nil, err
	}
	return created, ch.SetReadDeadline(time.Time{})
}

// extendReason says what a failed extension means to the client.
func extendReason(err error) onion.Reason {
	if errors.Is(err, link.ErrBackoff) {
		return onion.ReasonUnreachable
	}
	switch why := reasonOf(err); why {
	case onion.ReasonLinkLost, onion.ReasonDone:
		return onion.ReasonUnreachable
	default:
		return why
	}
}
