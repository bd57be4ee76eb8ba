package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sotto/internal/directory"
	"sotto/internal/testnet"
)

// localNodes is the usual size of a local network: three swarms of five.
const localNodes = 15

func newTestnet(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "testnet",
		Short: "Run a local network of nodes, each a process",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var dir string
	var nodes, swarm int
	up := &cobra.Command{
		Use:   "up --dir DIR",
		Short: "Start the network and keep it until interrupted",
		Long: "Starts the nodes at 127.1.0.1, 127.2.0.1, … and writes DIR/" + testnet.NetworkFile + " with every node's\n" +
			"ID, address, process ID and folder. Prints \"ready\" when messages can flow. A network\n" +
			"that DIR holds already is started again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.testnetUp(cmd.Context(), dir, nodes, swarm)
		},
	}
	up.Flags().StringVar(&dir, "dir", "", "the network's `DIR`")
	up.Flags().IntVar(&nodes, "nodes", localNodes, "how many nodes")
	up.Flags().IntVar(&swarm, "swarm", directory.DefaultSwarm, "how many nodes a swarm has")
	if err := up.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.AddCommand(up)
	return cmd
}

func (o *options) testnetUp(ctx context.Context, dir string, nodes, swarm int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	layout, err := testnet.Prepare(dir, nodes, swarm)
	if err != nil {
		return err
	}
	o.note("Starting %d nodes …", len(layout.Nodes))
	processes, err := testnet.Up(ctx, layout, program)
	if err != nil {
		return err
	}
	err = o.print(struct {
		Type    string `json:"type"`
		Network string `json:"network"`
		Nodes   int    `json:"nodes"`
	}{"ready", layout.File(), len(layout.Nodes)}, "ready")
	if err == nil {
		processes.Wait(ctx, func(e testnet.Entry, exit error) {
			o.note("The node in %s has ended: %v", e.Dir, exit)
		})
	}
	if stop := processes.Close(); err == nil {
		err = stop
	}
	if err != nil {
		return fmt.Errorf("stopping the network: %w", err)
	}
	return nil
}
