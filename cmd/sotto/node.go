package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/node"
	"sotto/internal/relay"
)

func newNode(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run a node of the network",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNodeInit(o))
	var dir, metrics string
	var drain time.Duration
	var limits relay.Limits
	var memory, maxStore int
	run := &cobra.Command{
		Use:   "run --dir DIR",
		Short: "Relay circuits and keep mailboxes until told to stop",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewJSONHandler(o.err, nil))
			if memory < 0 || maxStore < 0 || limits.MaxClientLinks < 0 || limits.ClientRate < 0 {
				return errors.New("a limit cannot be negative")
			}
			limits.MaxMemory = int64(memory) << 20
			cfg := node.Config{Dir: dir, Metrics: metrics, Limits: limits, MaxStore: uint64(maxStore) << 30, Logger: log}
			steady, err := disturb(&cfg)
			if err != nil {
				return err
			}
			defer steady()
			defer node.PaceCollector()()
			n, err := node.Start(cfg)
			if err != nil {
				return err
			}
			log.Info("serving", "node", n.ID().String(), "metrics", n.MetricsAddr())
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			for {
				select {
				case <-hup:
					n.Reload()
				case <-cmd.Context().Done():
					drainNode(n, drain, log)
					return n.Close()
				case failure := <-n.Failed():
					return errors.Join(failure, n.Close())
				}
			}
		},
	}
	run.Flags().StringVar(&dir, "dir", "", "the node's `DIR`")
	run.Flags().StringVar(&metrics, "metrics", "127.0.0.1:0", "where /metrics and /healthz listen, on loopback; empty for nowhere")
	run.Flags().DurationVar(&drain, "drain", drainTime, "how long to wait for circuits to leave when told to stop; a second signal stops at once")
	run.Flags().IntVar(&memory, "max-memory", 0, "`MiB` that may wait on circuits; 0 for 256")
	run.Flags().IntVar(&maxStore, "max-store", 0, "`GiB` of envelopes to keep at most; 0 for 64")
	run.Flags().IntVar(&limits.MaxClientLinks, "max-clients", 0, "`LINKS` that clients may have; 0 for 4096")
	run.Flags().IntVar(&limits.ClientRate, "client-rate", 0, "`CIRCUITS` a second that a client may build in the long run; 0 for 10")
	if err := run.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.AddCommand(run, newNodeCheck(o), newNodeStatus(o))
	return cmd
}

// drainTime is long enough for a client to build another path and for a message
// under way to arrive, and short enough for who restarts a node.
const drainTime = 10 * time.Second

// drainNode lets circuits leave until all have, the time is over, or a second
// signal comes.
func drainNode(n *node.Node, limit time.Duration, log *slog.Logger) {
	again, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(again, limit)
	defer cancel()
	log.Info("draining: waiting for circuits to leave, a second signal stops at once", "circuits", n.Circuits(), "at_most", limit.String())
	left := n.Drain(ctx)
	log.Info("stopping", "circuits_left", left)
}
