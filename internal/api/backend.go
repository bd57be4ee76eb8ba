package api

import (
	"context"

	"sotto/internal/client"
	"sotto/internal/padding"
)

// App is one profile: empty, locked or at work. *client.App becomes one
// through Profile.
type App interface {
	State() client.State
	Create(ctx context.Context, name, passphrase string) (phrase string, err error)
	Restore(ctx context.Context, phrase, name, passphrase string) error
	Unlock(ctx context.Context, passphrase string) error
	Lock()
	// Client returns the account at work, or an error wrapping client.ErrLocked.
	Client() (Client, error)
}

// Client is the account at work. *client.Client is one.
type Client interface {
	ID() string
	Name() string
	SetName(ctx context.Context, name string) error
	Network() client.NetworkInfo

	Chats(ctx context.Context) ([]client.Chat, error)
	Requests(ctx context.Context) ([]client.Chat, error)
	Accept(ctx context.Context, peer string) error
	DeleteRequest(ctx context.Context, peer string) error
	Block(ctx context.Context, peer string) error
	Unblock(ctx context.Context, peer string) error
	Rename(ctx context.Context, peer, name string) error

	Messages(ctx context.Context, peer, before string, limit int) ([]client.Message, error)
	Message(ctx context.Context, id string) (client.Message, error)
	Send(ctx context.Context, peer, text string) (client.Message, error)
	Retry(ctx context.Context, id string) error
	MarkRead(ctx context.Context, peer string) error
	Take(ctx context.Context) ([]client.Message, error)
	Sync(ctx context.Context) error
	Flush(ctx context.Context) error

	Cover(ctx context.Context) (padding.Level, error)
	SetCover(ctx context.Context, level string) error
	Chatting()

	Paths() []client.Path
	NewPath()
	MemberFaults(ctx context.Context) ([]client.MemberFault, error)
	Forks(ctx context.Context) ([]client.DirectoryFork, error)
	ForgetForks(ctx context.Context) error
	Connection() client.Connection
	Events(ctx context.Context) <-chan client.Event
}

// Profile makes a client's profile an App.
func Profile(app *client.App) App { return profile{app} }

type profile struct{ *client.App }

func (p profile) Client() (Client, error) {
	c, err := p.App.Client()
	if err != nil {
		return nil, err
	}
	return c, nil
}
