package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/node"
	"sotto/internal/swarm/store"
)

// errUnsound makes the exit code of a check that found something.
var errUnsound = errors.New("the store is damaged: `sotto node check --repair` keeps what is whole, and the other members bring back the rest")

func newNodeCheck(o *options) *cobra.Command {
	var dir string
	var repair bool
	cmd := &cobra.Command{
		Use:   "check --dir DIR",
		Short: "Look at every row of a stopped node's store",
		Long: "Verifies that everything in the store can be read, matches its checksums, and that\n" +
			"its tables agree. With --repair, a damaged store is replaced by what is whole of it;\n" +
			"the damaged one is set aside, never deleted. Exits with 1 when something is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.nodeCheck(cmd.Context(), dir, repair) },
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the node's `DIR`")
	cmd.Flags().BoolVar(&repair, "repair", false, "replace a damaged store by what is whole of it")
	if err := cmd.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func (o *options) nodeCheck(ctx context.Context, dir string, repair bool) error {
	res, err := node.Check(ctx, dir, repair, o.progress())
	switch {
	case errors.Is(err, store.ErrInUse):
		return fmt.Errorf("the node in %s runs: stop it first, only a node at rest can be checked", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s holds no store: nothing to check", dir)
	case err != nil:
		return err
	}
	if err := o.print(res, checkText(res)); err != nil {
		return err
	}
	if !res.Sound {
		return errUnsound
	}
	return nil
}

func checkText(res node.CheckResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d mailboxes, %d envelopes of %d bytes, %d tombstones", res.Mailboxes, res.Envelopes, res.Bytes, res.Tombstones)
	for _, f := range slices.Sorted(maps.Keys(res.Faults)) {
		fmt.Fprintf(&b, "\nfound: %s (%d)", f, res.Faults[f])
	}
	switch {
	case res.Repaired:
		b.WriteString("\nrepaired: start the node, and the other members bring back what is missing")
	case res.Sound:
		b.WriteString("\nsound")
	}
	if res.SetAside != "" {
		fmt.Fprintf(&b, "\nA damaged store lies in %s: remove it when the node serves again, since nothing expires in it.", res.SetAside)
	}
	return b.String()
}

// progressEvery paces what a person at a terminal reads.
const progressEvery = time.Second

// progress tells a person how far a long check is.
func (o *options) progress() func(done, total uint64) {
	if o.json {
		return nil
	}
	last := time.Now()
	return func(done, total uint64) {
		if time.Since(last) < progressEvery || total == 0 {
			return
		}
		last = time.Now()
		o.note("%d %% of %d MiB", min(100, done*100/total), total>>20)
	}
}
