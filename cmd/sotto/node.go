package main

import (
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"sotto/internal/node"
)

func newNode(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run a node of the network",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var dir, metrics string
	run := &cobra.Command{
		Use:   "run --dir DIR",
		Short: "Relay circuits and keep mailboxes until told to stop",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewJSONHandler(o.err, nil))
			n, err := node.Start(node.Config{Dir: dir, Metrics: metrics, Logger: log})
			if err != nil {
				return err
			}
			log.Info("serving", "node", n.ID().String(), "metrics", n.MetricsAddr())
			var failure error
			select {
			case <-cmd.Context().Done():
				log.Info("stopping")
			case failure = <-n.Failed():
			}
			return errors.Join(failure, n.Close())
		},
	}
	run.Flags().StringVar(&dir, "dir", "", "the node's `DIR`")
	run.Flags().StringVar(&metrics, "metrics", "127.0.0.1:0", "where /metrics and /healthz listen, on loopback; empty for nowhere")
	if err := run.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.AddCommand(run)
	return cmd
}
