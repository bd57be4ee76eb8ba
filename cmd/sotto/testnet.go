package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
			"that DIR holds already is started again, with the nodes that it has by now: one that\n" +
			"joins (sotto network) has DIR/node-N as its folder and 127.N.0.1 as its address.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			layout, err := prepareTestnet(dir, nodes, swarm, cmd.Flags().Changed("nodes"))
			if err != nil {
				return err
			}
			return o.testnetUp(cmd.Context(), layout)
		},
	}
	up.Flags().StringVar(&dir, "dir", "", "the network's `DIR`")
	up.Flags().IntVar(&nodes, "nodes", localNodes, fmt.Sprintf("how many nodes, %d or more", directory.MinLocal))
	up.Flags().IntVar(&swarm, "swarm", directory.DefaultSwarm, "how many nodes a swarm has")
	if err := up.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.AddCommand(up, newChaos(o))
	return cmd
}

// chaosShort describes `sotto testnet chaos`, which test builds have.
const chaosShort = "Break a network of processes while messages flow, and check every one (test builds)"

// relaxed says what a network on one machine lacks.
const relaxed = "All nodes are yours and on this computer: each counts as an operator and a network of its own,\n" +
	"so the rules that keep a path's nodes apart hold in form only. It hides nothing from you."

// checkNodes refuses a network in which nobody could write to anybody.
func checkNodes(nodes int) error {
	if nodes >= directory.MinLocal && nodes <= directory.MaxLocal {
		return nil
	}
	return fmt.Errorf("a network of %d nodes does not work: a path needs three relays that differ from one another and from\n"+
		"the node that keeps the mailbox, and each mailbox is read over two exits. Take --nodes %d or more, at most %d",
		nodes, directory.MinLocal, directory.MaxLocal)
}

// prepareTestnet makes a network of so many nodes in dir, or finds the one there,
// which need not have as many unless somebody asked for that number.
func prepareTestnet(dir string, nodes, swarm int, asked bool) (*testnet.Layout, error) {
	l, err := testnet.Open(dir)
	if err == nil && !asked {
		return l, checkNodes(len(l.Nodes))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := checkNodes(nodes); err != nil {
		return nil, err
	}
	return testnet.Prepare(dir, nodes, swarm)
}

func (o *options) testnetUp(ctx context.Context, layout *testnet.Layout) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	o.note("Starting %d nodes … %s", len(layout.Nodes), relaxed)
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
