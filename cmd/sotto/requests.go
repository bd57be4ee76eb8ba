package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sotto/internal/client"
)

func newRequests(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "requests",
		Short: "List, accept, delete or block strangers who wrote to you",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "list",
			Short: "List strangers who wrote to you",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return o.withSession(cmd.Context(), o.listRequests)
			},
		},
		o.requestCommand("accept", "Accept somebody; they now learn that their messages arrived", "accepted", session.Accept),
		o.requestCommand("delete", "Forget a stranger and what they wrote", "deleted", session.DeleteRequest),
		o.requestCommand("block", "Silently drop everything somebody sends from now on", "blocked", session.Block),
		o.requestCommand("unblock", "Undo block", "unblocked", session.Unblock),
	)
	return cmd
}

func (o *options) requestCommand(verb, short, done string, do func(session, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " ID",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withSession(cmd.Context(), func(ctx context.Context, s session) error {
				if err := do(s, ctx, args[0]); err != nil {
					return err
				}
				return o.print(struct {
					ID    string `json:"id"`
					State string `json:"state"`
				}{args[0], done}, done)
			})
		},
	}
}

// listRequests prints who asks to be a contact, and their latest words.
func (o *options) listRequests(ctx context.Context, s session) error {
	syncCtx, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()
	if err := s.Sync(syncCtx); err != nil {
		o.note("the mailboxes could not be read in full: %v", err)
	}
	requests, err := s.Requests(ctx)
	if err != nil {
		return err
	}
	for _, r := range requests {
		var last client.Message
		if r.Last != nil {
			last = *r.Last
		}
		err := o.print(struct {
			Type string `json:"type"`
			ID   string `json:"id"`
			Text string `json:"text"`
		}{"request", r.Peer, last.Text}, fmt.Sprintf("%s\n  %s", r.Peer, printable(last.Text)))
		if err != nil {
			return err
		}
	}
	if len(requests) == 0 {
		o.note("No requests.")
	}
	return nil
}
