//go:build !chaos

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

var errNoChaos = errors.New("this build cannot break clocks, networks and disks: run, in the source's folder,\n" +
	"go run -tags chaos ./cmd/sotto testnet chaos --duration 2m")

// newChaos says how to get what normal builds do not contain (docs/chaos.md).
func newChaos(*options) *cobra.Command {
	return &cobra.Command{
		Use:                "chaos",
		Short:              chaosShort,
		Args:               cobra.ArbitraryArgs,
		DisableFlagParsing: true, // whatever it is asked for, the answer is the same
		RunE:               func(*cobra.Command, []string) error { return errNoChaos },
	}
}
