package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"sotto/internal/client"
	"sotto/internal/padding"
)

// maxText is a limit of a message's text for tests.
const maxText = 16 << 10

// Client is an account on a Net. All its state is guarded by the Net's mutex.
type Client struct {
	net         *Net
	id, name    string
	chats       map[string]*chat
	order       []string // peers, the latest last
	subscribers []*subscriber
	seq         uint64
	taken       uint64 // Take has returned what came before this
	offline     bool
	renewed     int  // how often NewPath was called
	forgotten   bool // ForgetForks was called
	cover       padding.Level
	chatted     int // how often Chatting was called
}

type chat struct {
	name             string
	request, blocked bool
	messages         []client.Message
	read             uint64 // Seq of the last message seen
}

// ID implements api.Client.
func (c *Client) ID() string { return c.id }

// Network implements api.Client.
func (c *Client) Network() client.NetworkInfo {
	return client.NetworkInfo{Name: "demo", Key: strings.Repeat("5e", 32), Nodes: 15}
}

// Name implements api.Client.
func (c *Client) Name() string {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.name
}

// SetName implements api.Client.
func (c *Client) SetName(_ context.Context, name string) error {
	if strings.TrimSpace(name) == "" || len(name) > 64 {
		return client.ErrName
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.name = name
	return nil
}

// Chats implements api.Client.
func (c *Client) Chats(context.Context) ([]client.Chat, error) { return c.list(false), nil }

// Requests implements api.Client.
func (c *Client) Requests(context.Context) ([]client.Chat, error) { return c.list(true), nil }

func (c *Client) list(requests bool) []client.Chat {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	var out []client.Chat
	for i := len(c.order) - 1; i >= 0; i-- {
		ch := c.chats[c.order[i]]
		if ch.request != requests || ch.request && ch.blocked {
			continue
		}
		info := client.Chat{Peer: c.order[i], Name: ch.name, Request: ch.request, Blocked: ch.blocked}
		for i, m := range ch.messages {
			info.Last = &ch.messages[i]
			if !m.Outgoing && m.Seq > ch.read {
				info.Unread++
			}
		}
		if info.Last != nil {
			last := *info.Last
			info.Last = &last
		}
		out = append(out, info)
	}
	return out
}

// Messages implements api.Client.
func (c *Client) Messages(_ context.Context, peer, before string, limit int) ([]client.Message, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	ch := c.chats[peer]
	if ch == nil {
		return nil, nil
	}
	end := len(ch.messages)
	for i, m := range ch.messages {
		if m.ID == before {
			end = i
		}
	}
	return append([]client.Message(nil), ch.messages[max(0, end-limit):end]...), nil
}

// Message implements api.Client.
func (c *Client) Message(_ context.Context, id string) (client.Message, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if m := c.findLocked(id); m != nil {
		return *m, nil
	}
	return client.Message{}, client.ErrUnknown
}

func (c *Client) findLocked(id string) *client.Message {
	for _, ch := range c.chats {
		for i := range ch.messages {
			if ch.messages[i].ID == id {
				return &ch.messages[i]
			}
		}
	}
	return nil
}

// failing begins a text that fails: "fail:REASON|TEXT".
const failing = "fail:"

// Send implements api.Client. A text that begins with failing fails once.
func (c *Client) Send(_ context.Context, peer, text string) (client.Message, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return client.Message{}, client.ErrEmpty
	case len(text) > maxText:
		return client.Message{}, client.ErrTooLong
	case peer == c.id:
		return client.Message{}, client.ErrSelf
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	ch := c.chatLocked(peer)
	if ch.blocked {
		return client.Message{}, client.ErrBlocked
	}
	accepted := ch.request
	ch.request = false
	reason := ""
	if rest, ok := strings.CutPrefix(text, failing); ok {
		reason, text, _ = strings.Cut(rest, "|")
	}
	m := c.addLocked(peer, client.Message{
		ID: c.net.messageID(c.id, c.seq), Outgoing: true, Text: text,
		State: client.MessageQueued, SentAt: c.net.clock(),
	})
	queued := *m
	if accepted {
		c.emitLocked(client.Event{Type: client.EventChat, Peer: peer})
	}
	switch {
	case reason != "":
		c.moveLocked(m, client.MessageSending, "")
		c.moveLocked(m, client.MessageFailed, reason)
	case !c.offline:
		c.deliverLocked(m)
	}
	return queued, nil
}

// deliverLocked takes an outgoing message through its states.
func (c *Client) deliverLocked(m *client.Message) {
	c.moveLocked(m, client.MessageSending, "")
	c.moveLocked(m, client.MessageStored, "")
	other := c.net.accounts[m.Peer]
	if other == nil {
		return
	}
	theirs := other.chatLocked(c.id)
	if theirs.blocked {
		return
	}
	if len(theirs.messages) == 0 {
		theirs.request = true
	}
	got := *m
	got.Outgoing, got.State, got.ReceivedAt = false, client.MessageReceived, c.net.clock()
	other.addLocked(c.id, got)
	if !theirs.request {
		c.moveLocked(m, client.MessageDelivered, "")
	}
}

func (c *Client) moveLocked(m *client.Message, state, reason string) {
	m.State, m.Reason = state, reason
	now := *m
	c.emitLocked(client.Event{Type: client.EventState, Peer: m.Peer, Message: &now})
}

func (c *Client) chatLocked(peer string) *chat {
	if c.chats[peer] == nil {
		c.chats[peer] = &chat{}
		c.order = append(c.order, peer)
	}
	return c.chats[peer]
}

func (c *Client) addLocked(peer string, m client.Message) *client.Message {
	c.seq++
	m.Seq, m.Peer = c.seq, peer
	ch := c.chatLocked(peer)
	ch.messages = append(ch.messages, m)
	for i, p := range c.order {
		if p == peer {
			c.order = append(append(c.order[:i:i], c.order[i+1:]...), peer)
		}
	}
	c.emitLocked(client.Event{Type: client.EventMessage, Peer: peer, Message: &m})
	return &ch.messages[len(ch.messages)-1]
}

// Retry implements api.Client; what failed before goes through.
func (c *Client) Retry(_ context.Context, id string) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	m := c.findLocked(id)
	if m == nil {
		return client.ErrUnknown
	}
	if m.State != client.MessageFailed {
		return client.ErrNotFailed
	}
	c.moveLocked(m, client.MessageQueued, "")
	c.deliverLocked(m)
	return nil
}

// MarkRead implements api.Client.
func (c *Client) MarkRead(_ context.Context, peer string) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	ch := c.chats[peer]
	if ch == nil {
		return client.ErrUnknown
	}
	ch.read = c.seq
	if !ch.request {
		c.acknowledgeLocked(peer, client.MessageRead)
	}
	c.emitLocked(client.Event{Type: client.EventChat, Peer: peer})
	return nil
}

// acknowledgeLocked moves what peer sent us on to state at their side.
func (c *Client) acknowledgeLocked(peer, state string) {
	other := c.net.accounts[peer]
	if other == nil || other.chats[c.id] == nil {
		return
	}
	list := other.chats[c.id].messages
	for i := range list {
		m := &list[i]
		if m.Outgoing && (m.State == client.MessageStored || m.State == client.MessageDelivered) && m.State != state {
			other.moveLocked(m, state, "")
		}
	}
}

// Accept implements api.Client.
func (c *Client) Accept(_ context.Context, peer string) error {
	return c.change(peer, func(ch *chat) {
		ch.request = false
		c.acknowledgeLocked(peer, client.MessageDelivered)
	})
}

// DeleteRequest implements api.Client.
func (c *Client) DeleteRequest(_ context.Context, peer string) error {
	return c.change(peer, func(*chat) {
		delete(c.chats, peer)
		c.forgetLocked(peer)
	})
}

func (c *Client) forgetLocked(peer string) {
	for i, p := range c.order {
		if p == peer {
			c.order = append(c.order[:i:i], c.order[i+1:]...)
			return
		}
	}
}

// Block implements api.Client.
func (c *Client) Block(_ context.Context, peer string) error {
	return c.change(peer, func(ch *chat) { ch.blocked = true })
}

// Unblock implements api.Client.
func (c *Client) Unblock(_ context.Context, peer string) error {
	return c.change(peer, func(ch *chat) { ch.blocked = false })
}

// Rename implements api.Client.
func (c *Client) Rename(_ context.Context, peer, name string) error {
	return c.change(peer, func(ch *chat) { ch.name = name })
}

func (c *Client) change(peer string, f func(*chat)) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	ch := c.chats[peer]
	if ch == nil {
		return client.ErrUnknown
	}
	f(ch)
	c.emitLocked(client.Event{Type: client.EventChat, Peer: peer})
	return nil
}

// Take implements api.Client.
func (c *Client) Take(context.Context) ([]client.Message, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	var out []client.Message
	for _, peer := range c.order {
		for _, m := range c.chats[peer].messages {
			if !m.Outgoing && m.Seq > c.taken {
				out = append(out, m)
			}
		}
	}
	c.taken = c.seq
	return out, nil
}

// Sync implements api.Client; nothing is ever behind.
func (c *Client) Sync(context.Context) error { return nil }

// Flush implements api.Client; nothing waits but what SetOffline holds back.
func (c *Client) Flush(context.Context) error { return nil }

func (n *Net) messageID(id string, seq uint64) string {
	d := sha256.Sum256(fmt.Appendf(nil, "%s/%d", id, seq))
	return hex.EncodeToString(d[:16])
}
