package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/client"
)

// sendTimeout is how long send waits for the state asked for, unless told.
const sendTimeout = time.Minute

// rank orders the states that send can wait for.
var rank = map[string]int{
	client.MessageQueued: 0, client.MessageSending: 1, client.MessageStored: 2,
	client.MessageDelivered: 3, client.MessageRead: 4,
}

func newSend(o *options) *cobra.Command {
	var wait string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "send ID TEXT…",
		Short: "Send a message",
		Long: "Sends a message and waits until the network has stored it durably, or with\n" +
			"--wait delivered until the recipient's device has it. Strangers confirm nothing\n" +
			"before they accept you. A message that was not confirmed in time stays in the\n" +
			"outbox and is sent at the next occasion.",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait != client.MessageStored && wait != client.MessageDelivered {
				return usagef("--wait takes stored or delivered, not %q", wait)
			}
			return o.withSession(cmd.Context(), func(ctx context.Context, s session) error {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				return o.send(ctx, s, args[0], strings.Join(args[1:], " "), wait)
			})
		},
	}
	cmd.Flags().StringVar(&wait, "wait", client.MessageStored, "return when the message is `STATE`: stored or delivered")
	cmd.Flags().DurationVar(&timeout, "timeout", sendTimeout, "give up waiting after `D`")
	return cmd
}

// send sends text and follows its states until want is reached.
func (o *options) send(ctx context.Context, s session, peer, text, want string) error {
	events := s.Events(ctx) // before sending, so that no change is missed
	m, err := s.Send(ctx, peer, text)
	if err != nil {
		return err
	}
	last := ""
	for {
		if m.State != last {
			last = m.State
			if err := o.printState(m); err != nil {
				return err
			}
		}
		if m.State == client.MessageFailed {
			return fmt.Errorf("the message failed: %s", m.Reason)
		}
		if rank[m.State] >= rank[want] {
			return nil
		}
		if m, err = nextState(ctx, s, events, m); err != nil {
			return notReached(err, last, want)
		}
	}
}

// nextState returns m after the next event that may have changed it.
func nextState(ctx context.Context, s session, events <-chan client.Event, m client.Message) (client.Message, error) {
	for {
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case e, ok := <-events:
			switch {
			case !ok && ctx.Err() != nil:
				return m, ctx.Err()
			case !ok:
				return m, errors.New("the connection to the daemon ended")
			case e.Type == client.EventMissed:
				return s.Message(ctx, m.ID)
			case e.Message != nil && e.Message.ID == m.ID:
				return *e.Message, nil
			}
		}
	}
}

func notReached(err error, last, want string) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if last == client.MessageStored {
		return fmt.Errorf("stored, but not %s in time: the recipient is offline or has not accepted you yet", want)
	}
	return fmt.Errorf("still %s when the time ended; it stays in the outbox", last)
}

func (o *options) printState(m client.Message) error {
	return o.print(struct {
		ID    string `json:"id"`
		State string `json:"state"`
		Why   string `json:"reason,omitempty"`
	}{m.ID, m.State, m.Reason}, m.State)
}
