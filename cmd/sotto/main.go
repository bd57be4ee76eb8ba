// Command sotto is the whole of Sotto in one binary: the node, the client's
// daemon with its web app, a local network to try it on, and the commands that
// send and receive from a terminal.
//
// Each command has a file of its own and only parses, calls and prints; what it
// does lives in internal/.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes: scripts tell a wrong call from a thing that did not work.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run executes one command line and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(&options{stdin: stdin, out: stdout, err: stderr})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "sotto:", explain(err))
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// usageError is a command line that cannot be carried out as written.
type usageError struct{ error }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

func newRoot(o *options) *cobra.Command {
	root := &cobra.Command{
		Use:                        "sotto",
		SuggestionsMinimumDistance: 2,
		Short:                      "A messenger without phone numbers, central servers or metadata to hand over",
		Long: "Sotto is a decentralised, end-to-end-encrypted messenger. Messages travel through\n" +
			"three onion hops and wait, encrypted, on swarms of community-run nodes.\n\n" +
			"Try it: sotto demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w (see %s --help)", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&o.profile, "profile", "", "the account's `DIR` (default: sotto/default in the user's configuration folder)")
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "read the passphrase from the first line of `FILE`")
	root.AddCommand(
		newInit(o), newRestore(o), newID(o), newSend(o), newReceive(o), newRequests(o), newCover(o), newMembers(o),
		newDaemon(o), newDemo(o), newTestnet(o), newNetwork(o), newNode(o), newBench(o), newVersion(o),
	)
	checkUsage(root)
	return root
}

// checkUsage makes wrong arguments and missing flags of cmd, and of all below
// it, usage errors.
func checkUsage(cmd *cobra.Command) {
	cmd.Args = usageArgs(cmd.Args)
	for _, c := range cmd.Commands() {
		checkUsage(c)
	}
}

// usageArgs makes a wrong number of arguments, an unknown subcommand and a
// missing flag a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		switch {
		case err == nil:
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return usagef("%w (usage: %s)", err, cmd.UseLine())
			}
			return nil
		case cmd.HasSubCommands():
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usagef("%w; did you mean %s?", err, strings.Join(near, " or "))
			}
			return usagef("%w (see %s --help)", err, cmd.CommandPath())
		}
		return usagef("%w (usage: %s)", err, cmd.UseLine())
	}
}
