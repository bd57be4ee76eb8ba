//go:build chaos

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/chaos"
	"sotto/internal/directory"
)

// chaosNodes is the usual size of a network to break: two swarms of five.
const chaosNodes = 10

var errChaos = errors.New("the network did not keep its promises")

// newChaos is in builds with the tag chaos only (docs/chaos.md).
func newChaos(o *options) *cobra.Command {
	cfg := chaos.Config{Note: o.note}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: chaosShort,
		Long: "Runs a network and clients as processes, kills, stops, cuts off and fills the disks\n" +
			"of some while the clients send, and then shows what became of every message. The\n" +
			"exit code is 1 if any was lost, repeated or brought back; the folder then stays.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.chaos(cmd.Context(), cfg) },
	}
	cmd.Flags().StringVar(&cfg.Dir, "dir", "", "an empty `DIR` for all of it, which stays (default: a temporary one)")
	cmd.Flags().DurationVar(&cfg.Duration, "duration", 2*time.Minute, "how long things break")
	cmd.Flags().IntVar(&cfg.Nodes, "nodes", chaosNodes, fmt.Sprintf("how many nodes, %d or more", directory.MinLocal))
	cmd.Flags().IntVar(&cfg.Swarm, "swarm", directory.DefaultSwarm, "how many nodes a swarm has")
	cmd.Flags().IntVar(&cfg.Accounts, "accounts", 4, "how many people write to one another")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 0, "of the schedule (default: a random one, which is printed)")
	cmd.Flags().DurationVar(&cfg.Patience, "patience", 4*time.Minute, "how long to wait at most for what must come in the end")
	cmd.Flags().BoolVar(&cfg.Brief, "brief", false, "leave out the times of puts, nodes that join and leave, the accounts' mailboxes and the search through files")
	return cmd
}

func (o *options) chaos(ctx context.Context, cfg chaos.Config) (err error) {
	if err := checkNodes(cfg.Nodes); err != nil {
		return err
	}
	if cfg.Program, err = os.Executable(); err != nil {
		return err
	}
	for cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	temporary := cfg.Dir == ""
	if temporary {
		if cfg.Dir, err = os.MkdirTemp("", "sotto-chaos-"); err != nil {
			return err
		}
	}
	r, err := chaos.Run(ctx, cfg)
	if err == nil {
		err = o.print(r, r.String())
	}
	if err == nil && !r.Good() {
		err = errChaos
	}
	if err != nil {
		o.note("Seed %d; logs and files are in %s.", cfg.Seed, cfg.Dir)
		return err
	}
	if temporary {
		return os.RemoveAll(cfg.Dir)
	}
	return nil
}
