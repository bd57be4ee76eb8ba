package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sotto/internal/node"
)

func newNodeStatus(o *options) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "status --dir DIR",
		Short: "Show how the node of a folder does, and what to do about it",
		Long: "Reads the pages of the node that runs in DIR, on this computer. Exits with 1 when\n" +
			"it does not run, or not as it should.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.nodeStatus(cmd.Context(), dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the node's `DIR`")
	if err := cmd.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func (o *options) nodeStatus(ctx context.Context, dir string) error {
	st, err := node.ReadStatus(ctx, dir)
	if err != nil {
		return err
	}
	if err := o.print(st, statusText(st)); err != nil {
		return err
	}
	if st.State != "serving" {
		return fmt.Errorf("the node is not serving: %s", st.State)
	}
	return nil
}

// movingText says what a change of the network left to do.
func movingText(m node.Moving) string {
	var left []string
	if m.Sources > 0 {
		left = append(left, fmt.Sprintf("%d nodes left to ask for mailboxes", m.Sources))
	}
	switch {
	case !m.Counted:
		left = append(left, "not known yet what there is to hand over")
	case m.Mailboxes > 0:
		left = append(left, fmt.Sprintf("%d mailboxes (%d KiB) left to hand over", m.Mailboxes, (m.Bytes+1023)>>10))
	}
	switch {
	case len(left) > 0:
		return strings.Join(left, ", ")
	case m.Finished():
		return "everything is handed over: this node may be switched off"
	}
	return "nothing"
}

func statusText(st node.Status) string {
	var b strings.Builder
	row := func(name, format string, a ...any) {
		fmt.Fprintf(&b, "%-14s "+format+"\n", append([]any{name}, a...)...)
	}
	row("state", "%s", st.State)
	if st.Running {
		row("members", "%d others, %d away, %d compared with since the start", st.Members, st.MembersAway, st.MembersReconciled)
		row("store", "%d envelopes, %d MiB; %d MiB free; %d expired since the start", st.Envelopes, st.StoredBytes>>20, st.FreeBytes>>20, st.Expired)
		row("moving", "%s", movingText(st.Moving))
		row("hints", "%d changes wait for members that missed them", st.HintsWaiting)
		row("puts", "%d, half within %.0f ms, 99 in 100 within %.0f ms", st.Puts, 1000*st.PutP50, 1000*st.PutP99)
		row("subscriptions", "%d", st.Subscriptions)
		row("circuits", "%d", st.Circuits)
		for _, outcome := range slices.Sorted(maps.Keys(st.Refused)) {
			row("refused", "%d %s", st.Refused[outcome], outcome)
		}
		for _, name := range slices.Sorted(maps.Keys(st.Other)) {
			row("", "%s %v", name, st.Other[name])
		}
	}
	for _, a := range st.Advice {
		row("to do", "%s", a)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
