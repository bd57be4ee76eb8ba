package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sotto/internal/api"
	"sotto/internal/client"
	"sotto/internal/padding"
)

// closeTimeout bounds how long a command that works alone stays to hand over
// receipts after it has done what it was asked for.
const closeTimeout = 15 * time.Second

// session is an account as a command uses it: through the profile's running
// daemon, or alone. *client.Client and *api.Remote are the two.
type session interface {
	ID() string
	Network() client.NetworkInfo
	Message(ctx context.Context, id string) (client.Message, error)
	Send(ctx context.Context, peer, text string) (client.Message, error)
	Take(ctx context.Context) ([]client.Message, error)
	Chats(ctx context.Context) ([]client.Chat, error)
	Requests(ctx context.Context) ([]client.Chat, error)
	Accept(ctx context.Context, peer string) error
	DeleteRequest(ctx context.Context, peer string) error
	Block(ctx context.Context, peer string) error
	Unblock(ctx context.Context, peer string) error
	Cover(ctx context.Context) (padding.Level, error)
	SetCover(ctx context.Context, level string) error
	MemberFaults(ctx context.Context) ([]client.MemberFault, error)
	Forks(ctx context.Context) ([]client.DirectoryFork, error)
	ForgetForks(ctx context.Context) error
	Events(ctx context.Context) <-chan client.Event
	Sync(ctx context.Context) error
	Flush(ctx context.Context) error
}

// withSession runs do with the profile's account: through its daemon if one
// runs, else by opening the vault here and closing it again.
func (o *options) withSession(ctx context.Context, do func(context.Context, session) error) error {
	dir, err := o.profileDir()
	if err != nil {
		return err
	}
	remote, err := api.Dial(ctx, dir)
	if err == nil {
		defer remote.Close()
		return do(ctx, remote)
	}
	if !errors.Is(err, api.ErrNoDaemon) {
		return err
	}
	app, err := o.unlock(ctx, dir)
	if err != nil {
		return err
	}
	c, err := app.Client()
	if err == nil {
		err = do(ctx, c)
	}
	if err == nil {
		_, err = flush(ctx, c)
	}
	return errors.Join(err, app.Close())
}

// flush hands over what is still on its way out, such as delivery receipts, and
// reports whether all of it left. Not reaching the network in time is no error:
// the outbox keeps it.
func flush(ctx context.Context, c *client.Client) (all bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	err = c.Flush(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false, nil
	}
	return err == nil, err
}

// unlock opens the profile in dir, which must hold an account.
func (o *options) unlock(ctx context.Context, dir string) (*client.App, error) {
	app, err := client.OpenProfile(client.ProfileConfig{Dir: dir, Logger: o.logger()})
	if err != nil {
		return nil, err
	}
	if app.State() == client.StateEmpty {
		return nil, errors.Join(fmt.Errorf("no account in %s: make one with `sotto init --network FILE`", dir), app.Close())
	}
	passphrase, err := o.passphrase(false)
	if err == nil {
		err = app.Unlock(ctx, passphrase)
	}
	if err != nil {
		return nil, errors.Join(err, app.Close())
	}
	return app, nil
}

// logger writes warnings to standard error; nothing in them names a contact.
func (o *options) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(o.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
