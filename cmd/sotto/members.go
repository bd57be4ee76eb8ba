package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newMembers(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "Show the nodes that kept messages back",
		Long: "Each mailbox is read at two nodes of different operators, and what they bring is\n" +
			"compared. This lists the nodes, or the paths to them, that kept messages back or\n" +
			"were late with them. Nobody else is told.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withSession(cmd.Context(), o.showMembers)
		},
	}
}

func (o *options) showMembers(ctx context.Context, s session) error {
	faults, err := s.MemberFaults(ctx)
	if err != nil {
		return err
	}
	for _, f := range faults {
		text := fmt.Sprintf("%s  %s  %s: %d times, last %s", f.Node.ID[:min(16, len(f.Node.ID))], printable(f.Node.Operator), f.Node.Address, f.Count, f.Last.Local().Format(time.DateTime))
		if !f.Until.IsZero() {
			text += ", asked last until " + f.Until.Local().Format(time.DateTime)
		}
		if err := o.print(f, text); err != nil {
			return err
		}
	}
	if len(faults) == 0 {
		o.note("no node has kept messages back")
	}
	return nil
}
