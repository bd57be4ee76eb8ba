package relay

import (
	"fmt"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/onion"
)

// recognised processes the messages of a cell for this relay, and acknowledges
// the cell if it is due (spec/circuit.md §4.4, §4.5).
func (c *circuit) recognised(cmd onion.Command, payload []byte, tag onion.Tag) error {
	c.early.begin(cmd, c.unpacker.Unfinished())
	data, err := c.unpacker.Feed(payload, c.handle)
	if err != nil {
		return err
	}
	if data && c.received.Received() {
		c.reply(onion.Sendme(tag))
	}
	if len(c.replies) == 0 {
		return nil
	}
	err = c.sender.send(c.replies...)
	c.replies = nil
	return err
}

// reply answers a message of the cell at hand. All answers to a cell leave
// together: none is longer than its question, so that a client cannot have a
// relay send more than it sends itself (spec/circuit.md §4.4).
func (c *circuit) reply(m onion.Message) { c.replies = append(c.replies, m) }

// handle processes one message. An error destroys the circuit.
func (c *circuit) handle(m onion.Message) error {
	early := c.early.message()
	switch m.Command {
	case onion.MsgData:
		return c.handleData(m)
	case onion.MsgSendme:
		return c.handleSendme(m)
	case onion.MsgBegin:
		return c.handleBegin(m)
	case onion.MsgEnd:
		return c.handleEnd(m)
	case onion.MsgExtend:
		if !early {
			return errProtocol
		}
		return c.handleExtend(m)
	case onion.MsgProbe:
		token, err := m.Token()
		if err != nil {
			return err
		}
		c.reply(onion.ProbeReply(token))
		return nil
	case onion.MsgDrop:
		return m.CheckDrop()
	case onion.MsgCover:
		return c.handleCover(m)
	}
	return fmt.Errorf("%w: %v from a client", errProtocol, m.Command)
}

func (c *circuit) handleData(m onion.Message) error {
	if m.Stream == 0 || len(m.Data) == 0 {
		return errProtocol
	}
	if s := c.stream(m.Stream); s != nil {
		return s.enqueue(m.Data)
	}
	return nil
}

func (c *circuit) handleSendme(m onion.Message) error {
	tag, err := m.SendmeTag()
	if err != nil {
		return err
	}
	if m.Stream == 0 {
		return c.sender.acknowledge(tag)
	}
	if s := c.stream(m.Stream); s != nil {
		return c.sender.acknowledgeStream(s)
	}
	return nil
}

func (c *circuit) handleEnd(m onion.Message) error {
	why, err := m.Reason()
	if err != nil {
		return err
	}
	s := c.stream(m.Stream)
	switch {
	case s == nil:
	case why == onion.ReasonDone:
		s.finish()
	default:
		c.forget(s)
		s.abort()
	}
	return nil
}

// handleBegin opens a stream, or says why not.
func (c *circuit) handleBegin(m onion.Message) error {
	target, err := m.Target()
	if err != nil {
		return err
	}
	if c.stream(m.Stream) != nil {
		return errProtocol
	}
	if why := c.refuseBegin(target); why != onion.ReasonDone {
		c.reply(onion.End(m.Stream, why))
	} else if !c.startStream(m.Stream, target) {
		c.reply(onion.End(m.Stream, onion.ReasonLimit))
	}
	return nil
}

// startStream opens a stream unless there are too many of the circuit, or to the
// target.
func (c *circuit) startStream(id uint16, target identity.NodeID) bool {
	victim, ok := c.placeStream(id, target)
	if victim != nil {
		victim.fail(onion.ReasonLimit)
	}
	return ok
}

// placeStream also returns the stream that is to end in the new one's favour.
func (c *circuit) placeStream(id uint16, target identity.NodeID) (victim *stream, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.streams) >= onion.MaxStreams {
		return nil, false
	}
	s := newStream(c, id, target)
	if victim, ok = c.relay.targets.enter(s); !ok {
		s.cancel()
		return nil, false
	}
	if c.streams == nil {
		c.streams = make(map[uint16]*stream)
	}
	c.streams[id] = s
	c.relay.metrics.streams.Inc()
	c.wg.Go(s.run)
	return victim, true
}

// refuseBegin returns ReasonDone if the stream may be opened.
func (c *circuit) refuseBegin(target identity.NodeID) onion.Reason {
	if c.relay.cfg.Exit == nil || !c.prevIsNode {
		return onion.ReasonRefused
	}
	if _, ok := directory.Listed(c.relay.cfg.Directory, target); !ok {
		return onion.ReasonUnknownNode
	}
	return onion.ReasonDone
}

// tell sends a message; a failure destroys the circuit.
func (c *circuit) tell(m onion.Message) {
	if err := c.sender.send(m); err != nil {
		c.destroy(onion.ReasonInternal)
	}
}

func (c *circuit) stream(id uint16) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

// forget removes a stream; its number may be used again.
func (c *circuit) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
	}
}
