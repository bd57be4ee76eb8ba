package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/client"
)

// receiveTimeout is how long receive looks for what is waiting, unless told.
const receiveTimeout = 30 * time.Second

func newReceive(o *options) *cobra.Command {
	var follow bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "receive",
		Short: "Print what has come",
		Long: "Prints the messages that this command has not printed before, and confirms them as\n" +
			"delivered to accepted contacts. With --follow it stays and prints what comes, until\n" +
			"interrupted or --timeout has passed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withSession(cmd.Context(), func(ctx context.Context, s session) error {
				if follow {
					return o.follow(ctx, s, timeout)
				}
				if timeout == 0 {
					timeout = receiveTimeout
				}
				syncCtx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				err := s.Sync(syncCtx)
				switch {
				case errors.Is(err, context.DeadlineExceeded):
					err = errors.New("the network did not answer in time: what is missing comes next time")
				case err != nil:
					err = fmt.Errorf("the mailboxes could not be read in full: %w", err)
				}
				return errors.Join(o.take(ctx, s), err) // what came in is shown in any case
			})
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "stay, and print messages as they come")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "stop after `D` (default: 30s without --follow, never with it)")
	return cmd
}

// follow prints what comes until ctx ends or timeout (if not zero) has passed.
func (o *options) follow(ctx context.Context, s session, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	events := s.Events(ctx)
	for {
		if err := o.take(ctx, s); err != nil {
			if ctx.Err() != nil {
				return nil // the end that was asked for
			}
			return err
		}
		if err := nextIncoming(ctx, events); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// nextIncoming returns when an event says that a message may have come.
func nextIncoming(ctx context.Context, events <-chan client.Event) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				return errors.New("the connection to the daemon ended")
			}
			if e.Type == client.EventMissed || e.Type == client.EventMessage && e.Message != nil && !e.Message.Outgoing {
				return nil
			}
		}
	}
}

// take prints the messages that were not taken before.
func (o *options) take(ctx context.Context, s session) error {
	messages, err := s.Take(ctx)
	if err != nil {
		return err
	}
	for _, m := range messages {
		err := o.print(struct {
			Type       string    `json:"type"`
			ID         string    `json:"id"`
			From       string    `json:"from"`
			Text       string    `json:"text"`
			SentAt     time.Time `json:"sent_at"`
			ReceivedAt time.Time `json:"received_at"`
		}{"message", m.ID, m.Peer, m.Text, m.SentAt, m.ReceivedAt},
			fmt.Sprintf("%s  %s\n  %s", m.SentAt.Local().Format(time.DateTime), m.Peer, printable(m.Text)))
		if err != nil {
			return err
		}
	}
	return nil
}
