package client

import (
	"context"
	"errors"

	"sotto/internal/circuit"
	"sotto/internal/mailbox"
)

// What Connection says, in plain words.
const (
	textConnecting = "Connecting…"
	textOnline     = "Your messages go through three relays."
	textNoPath     = "No path through the network can be built at the moment. Sotto keeps trying."
	textClock      = "This computer's clock is wrong by more than two minutes; the network refuses its requests."
	textBroken     = "This profile's data is damaged. Nothing is sent or received."
	textLate       = "A message came only when its mailbox was read to its end. Either both nodes that should have brought it at once kept it back, or it was written late."
	textForked     = "The key of this network has signed two different lists of its nodes as one. Somebody may be shown a network of their own. Sotto keeps the list that it has; ask those who run the network."
	textTrouble    = "The network answers, but not as it should. Sotto keeps trying."
)

// Connection returns how the client stands with the network.
func (c *Client) Connection() Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Paths returns the circuits in use and ready.
func (c *Client) Paths() []Path { return c.net.Paths() }

// NewPath drops all circuits and builds others.
func (c *Client) NewPath() { c.net.NewPath() }

// standing counts the subscriptions that stand.
func (c *Client) standing(n int) {
	c.mu.Lock()
	c.live += n
	if c.live > 0 {
		c.fault, c.unreached = nil, ""
	}
	first := n > 0 && c.live == n
	c.stateLocked()
	c.mu.Unlock()
	if first { // what waited for the network need not wait any longer
		c.wakeOutbox()
		c.kickContacts.kick()
		c.kickCards.kick()
		c.kickPrepare.kick()
		c.wakeDeletes()
	}
}

// noteFault remembers why the network could not be used.
func (c *Client) noteFault(err error) {
	if err == nil || c.ctx.Err() != nil || errors.Is(err, errNoCard) || errors.Is(err, context.Canceled) {
		return
	}
	c.log.Debug("client: request failed", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err
	c.stateLocked()
}

// clearFault notes a success, and reports whether it ends a fault.
func (c *Client) clearFault() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.fault != nil
	c.fault = nil
	c.stateLocked()
	return had
}

// noteUnreached notes that no entry node answers, or with "" that one does.
func (c *Client) noteUnreached(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unreached = text
	c.stateLocked()
}

// noteForked notes whether it is known that the network's key signed two
// directories with one serial.
func (c *Client) noteForked(known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forked = known
	c.stateLocked()
}

func (c *Client) stateLocked() {
	s := Connection{State: ConnectionConnecting, Text: textConnecting}
	switch {
	case c.broken:
		s = Connection{State: ConnectionOffline, Text: textBroken}
	case errors.Is(c.fault, mailbox.ErrSkew):
		s = Connection{State: ConnectionOffline, Text: textClock}
	case c.live > 0:
		s = Connection{State: ConnectionOnline, Text: textOnline}
		if c.forked {
			s.Text = textForked
		}
	case c.unreached != "":
		s = Connection{State: ConnectionOffline, Text: c.unreached}
	case errors.Is(c.fault, circuit.ErrNoCircuit):
		s = Connection{State: ConnectionOffline, Text: textNoPath}
	case c.fault != nil:
		s.Text = textTrouble
	}
	if s == c.state {
		return
	}
	c.state = s
	c.hub.publish(Event{Type: EventConnection, Connection: &s})
}
