package client

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sotto/internal/identity"
	"sotto/internal/vault"
)

var stateNames = map[vault.MessageState]string{
	vault.MessageQueued:    MessageQueued,
	vault.MessageSending:   MessageSending,
	vault.MessageStored:    MessageStored,
	vault.MessageDelivered: MessageDelivered,
	vault.MessageRead:      MessageRead,
	vault.MessageFailed:    MessageFailed,
	vault.MessageReceived:  MessageReceived,
}

// shown is a message as interfaces see it.
func (c *Client) shown(m vault.Message, gap uint64) Message {
	out := Message{
		ID: hex.EncodeToString(m.ID[:]), Peer: identity.AccountID{Root: m.Peer}.String(), Outgoing: m.Outgoing,
		Text: m.Text, State: stateNames[m.State], Reason: m.Reason, SentAt: time.UnixMilli(m.Sent),
		Seq: uint64(m.Pos), Counter: m.Counter, Gap: gap,
	}
	if !m.Outgoing {
		out.ReceivedAt = time.UnixMilli(m.Received)
	} else if m.State == vault.MessageQueued {
		c.mu.Lock()
		if c.sending[m.ID] {
			out.State = MessageSending
		}
		c.mu.Unlock()
	}
	return out
}

// gapBefore is how many messages of the same sender before m are missing.
func gapBefore(tx *vault.Tx, m vault.Message) (uint64, error) {
	if m.Outgoing || m.Counter == 0 {
		return 0, nil
	}
	before, err := tx.CounterBefore(m)
	return m.Counter - before - 1, err
}

func (c *Client) publishState(m vault.Message) {
	out := c.shown(m, 0)
	c.hub.publish(Event{Type: EventState, Peer: out.Peer, Message: &out})
}

// Chats returns accepted and blocked contacts, the one with the latest message
// first.
func (c *Client) Chats(ctx context.Context) ([]Chat, error) {
	return c.list(ctx, vault.ContactAccepted, vault.ContactBlocked)
}

// Requests returns strangers who wrote and were neither accepted nor blocked.
func (c *Client) Requests(ctx context.Context) ([]Chat, error) {
	return c.list(ctx, vault.ContactRequest)
}

func (c *Client) list(ctx context.Context, states ...vault.ContactState) ([]Chat, error) {
	type dated struct {
		Chat
		at int64
	}
	var all []dated
	err := c.vault.View(ctx, func(tx *vault.Tx) error {
		contacts, err := tx.Contacts()
		if err != nil {
			return err
		}
		for _, k := range contacts {
			if !slices.Contains(states, k.State) {
				continue
			}
			chat := Chat{
				Peer: identity.AccountID{Root: k.ID}.String(), Name: k.Name,
				Request: k.State == vault.ContactRequest, Blocked: k.State == vault.ContactBlocked,
			}
			at := k.Created
			if chat.Unread, err = tx.CountUnseen(k.ID); err != nil {
				return err
			}
			last, err := tx.LastMessages(k.ID, nil, 1)
			if err != nil {
				return err
			}
			if len(last) > 0 {
				m := c.shown(last[0], 0)
				chat.Last, at = &m, max(at, last[0].Sent, last[0].Received)
			}
			all = append(all, dated{chat, at})
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b dated) int {
		if a.at != b.at {
			return int(min(max(b.at-a.at, -1), 1))
		}
		return strings.Compare(a.Peer, b.Peer)
	})
	out := make([]Chat, len(all))
	for i, d := range all {
		out[i] = d.Chat
	}
	return out, err
}

// Messages returns up to limit messages of a chat in the order to show them,
// ending just before the message with the ID before (or with the last one).
func (c *Client) Messages(ctx context.Context, peer, before string, limit int) ([]Message, error) {
	root, err := c.parsePeer(peer)
	if err != nil {
		return nil, err
	}
	c.Chatting()
	limit = min(max(limit, 1), maxPage)
	var out []Message
	err = c.vault.View(ctx, func(tx *vault.Tx) error {
		var mark *vault.Message
		if before != "" {
			id, err := parseMessageID(before)
			if err != nil {
				return err
			}
			m, err := tx.Message(id)
			if errors.Is(err, vault.ErrNotFound) || err == nil && m.Peer != root {
				return ErrUnknown
			}
			if err != nil {
				return err
			}
			mark = &m
		}
		page, err := tx.LastMessages(root, mark, limit)
		if err != nil {
			return err
		}
		for _, m := range page {
			gap, err := gapBefore(tx, m)
			if err != nil {
				return err
			}
			out = append(out, c.shown(m, gap))
		}
		return nil
	})
	return out, err
}

// Message returns one message by its ID.
func (c *Client) Message(ctx context.Context, id string) (out Message, err error) {
	key, err := parseMessageID(id)
	if err != nil {
		return out, err
	}
	err = c.vault.View(ctx, func(tx *vault.Tx) error {
		m, err := tx.Message(key)
		if errors.Is(err, vault.ErrNotFound) {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		gap, err := gapBefore(tx, m)
		out = c.shown(m, gap)
		return err
	})
	return out, err
}

// Take returns incoming messages of accepted contacts and strangers that the
// command line has not been given yet, oldest first, and marks them given. One
// that came before its predecessors waits a moment for them.
func (c *Client) Take(ctx context.Context) ([]Message, error) {
	type stream struct {
		peer   [32]byte
		device [16]byte
	}
	var out []Message
	held := map[stream]bool{}
	err := c.vault.Update(ctx, func(tx *vault.Tx) error {
		waiting, err := tx.Untaken()
		if err != nil {
			return err
		}
		for _, m := range waiting {
			contact, err := tx.Contact(m.Peer)
			if err != nil {
				return err
			}
			if contact.State == vault.ContactBlocked {
				continue
			}
			gap, err := gapBefore(tx, m)
			if err != nil {
				return err
			}
			s := stream{m.Peer, m.Device}
			if gap > 0 && c.now().Sub(time.UnixMilli(m.Received)) < c.timing.gap {
				held[s] = true
			}
			if held[s] {
				continue
			}
			m.Taken = true
			if err := tx.SetMessage(m); err != nil {
				return err
			}
			out = append(out, c.shown(m, gap))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for s := range held {
		c.remind(identity.AccountID{Root: s.peer}.String())
	}
	return out, nil
}

// remind tells of a chat once Take will no longer hold its messages back.
func (c *Client) remind(peer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reminding || c.ctx.Err() != nil {
		return
	}
	c.reminding = true
	c.goDo(func() {
		ok := c.sleep(c.timing.gap)
		c.mu.Lock()
		c.reminding = false
		c.mu.Unlock()
		if ok {
			c.hub.publish(Event{Type: EventChat, Peer: peer})
		}
	})
}

func parseMessageID(id string) (out [16]byte, err error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != len(out) {
		return out, ErrUnknown
	}
	return [16]byte(b), nil
}

// cleanName refuses what would mislead in a list: control characters,
// invisible or overlong names.
func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return "", ErrName
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return "", ErrName
		}
	}
	return name, nil
}
