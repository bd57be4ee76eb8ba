package client

import "context"

// Client is an account at work.
type Client struct{}

// ID returns the account ID to show around.
func (c *Client) ID() string { return "" }

// Name returns the name that the account gave itself; nobody else sees it.
func (c *Client) Name() string { return "" }

// SetName changes it.
func (c *Client) SetName(ctx context.Context, name string) error { return ErrLocked }

// Chats returns accepted contacts, the one with the latest message first.
func (c *Client) Chats(ctx context.Context) ([]Chat, error) { return nil, ErrLocked }

// Requests returns strangers who wrote and were neither accepted nor blocked.
func (c *Client) Requests(ctx context.Context) ([]Chat, error) { return nil, ErrLocked }

// Messages returns up to limit messages of a chat in the order to show them,
// ending just before the message with the ID before (or with the last one).
func (c *Client) Messages(ctx context.Context, peer, before string, limit int) ([]Message, error) {
	return nil, ErrLocked
}

// Message returns one message by its ID.
func (c *Client) Message(ctx context.Context, id string) (Message, error) {
	return Message{}, ErrLocked
}

// Send queues a text for peer and returns the message as queued; events tell
// what becomes of it. Writing to a stranger accepts them.
func (c *Client) Send(ctx context.Context, peer, text string) (Message, error) {
	return Message{}, ErrLocked
}

// Retry queues a failed message again.
func (c *Client) Retry(ctx context.Context, id string) error { return ErrLocked }

// MarkRead marks everything of a chat as seen, and tells the other side if
// accepted.
func (c *Client) MarkRead(ctx context.Context, peer string) error { return ErrLocked }

// Accept makes a stranger a contact; what they sent is now acknowledged.
func (c *Client) Accept(ctx context.Context, peer string) error { return ErrLocked }

// DeleteRequest forgets a stranger and what they sent.
func (c *Client) DeleteRequest(ctx context.Context, peer string) error { return ErrLocked }

// Block drops whatever peer sends from now on, silently.
func (c *Client) Block(ctx context.Context, peer string) error { return ErrLocked }

// Unblock undoes Block.
func (c *Client) Unblock(ctx context.Context, peer string) error { return ErrLocked }

// Rename gives a contact a name that only we see; empty takes it away.
func (c *Client) Rename(ctx context.Context, peer, name string) error { return ErrLocked }

// Paths returns the circuits in use and ready.
func (c *Client) Paths() []Path { return nil }

// NewPath drops all circuits and builds others.
func (c *Client) NewPath() {}

// Connection returns how the client stands with the network.
func (c *Client) Connection() Connection { return Connection{State: ConnectionOffline} }

// Events returns what changes from now on, until ctx ends or the client stops;
// then the channel is closed. A reader that falls behind gets EventMissed.
func (c *Client) Events(ctx context.Context) <-chan Event { return nil }

// Take returns incoming messages of accepted contacts and strangers that the
// command line has not been given yet, oldest first, and marks them given.
func (c *Client) Take(ctx context.Context) ([]Message, error) { return nil, ErrLocked }

// Sync waits until all mailboxes have been read up to what is there now.
func (c *Client) Sync(ctx context.Context) error { return ErrLocked }

// Flush waits until nothing is left to send: messages are stored or failed,
// and receipts have left.
func (c *Client) Flush(ctx context.Context) error { return ErrLocked }
