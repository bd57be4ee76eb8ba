package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"sotto/internal/client"
)

// SetOffline holds back what the account sends, or lets it go.
func (c *Client) SetOffline(off bool) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.offline = off
	now := c.connectionLocked()
	c.emitLocked(client.Event{Type: client.EventConnection, Connection: &now})
	for _, peer := range c.order {
		for i := range c.chats[peer].messages {
			if m := &c.chats[peer].messages[i]; !off && m.State == client.MessageQueued {
				c.deliverLocked(m)
			}
		}
	}
}

// Paths implements api.Client.
func (c *Client) Paths() []client.Path {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.offline {
		return nil
	}
	return []client.Path{
		c.pathLocked(1, "sending", 3), c.pathLocked(2, "receiving", 1),
		c.pathLocked(3, "receiving", 1), c.pathLocked(4, "sending", 0),
	}
}

// operators run the hops that Paths makes up.
var operators = []string{
	"Aster Collective", "Northlight", "Kelp Forest", "Quai 9", "Tidewater", "Quiet Harbour", "Zehn Ringe",
}

func (c *Client) pathLocked(n int, purpose string, streams int) client.Path {
	hop := func(i int) client.Hop {
		i %= len(operators)
		id := sha256.Sum256([]byte{byte(i)})
		return client.Hop{
			ID: hex.EncodeToString(id[:]), Operator: operators[i],
			Address: fmt.Sprintf("127.%d.0.1:7000", i+1),
		}
	}
	state := "ready"
	if streams > 0 {
		state = "in use"
	}
	return client.Path{
		ID: fmt.Sprintf("%d-%d", c.renewed, n), Purpose: purpose, State: state,
		Guard: hop(0), Middle: hop(n + c.renewed), Exit: hop(n + c.renewed + 2),
		BuiltAt: c.net.clock().Add(-time.Duration(n) * time.Minute),
		RTT:     time.Duration(70+11*n) * time.Millisecond, Streams: streams,
	}
}

// NewPath implements api.Client.
func (c *Client) NewPath() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.renewed++
	c.emitLocked(client.Event{Type: client.EventPath, Text: "Built new paths."})
}

// MemberFaults implements api.Client: one node was late once.
func (c *Client) MemberFaults(context.Context) ([]client.MemberFault, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return []client.MemberFault{{Node: c.pathLocked(1, "sending", 3).Exit, Count: 1, Last: c.net.clock().Add(-time.Hour)}}, nil
}

// Forks implements api.Client: there is one, until it is forgotten.
func (c *Client) Forks(context.Context) ([]client.DirectoryFork, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.forgotten {
		return []client.DirectoryFork{}, nil
	}
	issued := c.net.clock().Add(-time.Hour)
	return []client.DirectoryFork{{
		Serial: 7, Found: c.net.clock(), Proof: []byte("proof"),
		Kept: client.DirectoryOfFork{Issued: issued, Nodes: 15}, Refused: client.DirectoryOfFork{Issued: issued, Nodes: 16},
	}}, nil
}

// ForgetForks implements api.Client.
func (c *Client) ForgetForks(context.Context) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.forgotten = true
	return nil
}

// Connection implements api.Client.
func (c *Client) Connection() client.Connection {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.connectionLocked()
}

func (c *Client) connectionLocked() client.Connection {
	if c.offline {
		return client.Connection{State: client.ConnectionOffline, Text: "No entry node answers."}
	}
	return client.Connection{State: client.ConnectionOnline, Text: "Your messages go through three relays."}
}
