package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sotto/internal/bench"
)

func newBench(o *options) *cobra.Command {
	names := make([]string, 0, len(bench.All))
	long := "Measures parts of the program on this machine and prints the figures, beside a\n" +
		"baseline of the same run where there is one. Benchmarks:\n\n"
	for _, b := range bench.All {
		names = append(names, b.Name)
		long += fmt.Sprintf("  %-9s %s\n", b.Name, b.Short)
	}
	var subscriptions int
	cmd := &cobra.Command{
		Use:       "bench " + strings.Join(names, "|"),
		Short:     "Measure this machine",
		Long:      long,
		Args:      cobra.ExactArgs(1),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, ok := bench.Named(args[0])
			if !ok {
				return usagef("no benchmark %q; there are %s", args[0], strings.Join(names, ", "))
			}
			return o.bench(cmd.Context(), b, subscriptions)
		},
	}
	cmd.Flags().IntVar(&subscriptions, "subscriptions", 0, "idle subscriptions that store sets up (default: as many as take less than a minute); with it, what they cost clients and exits is weighed, too")
	return cmd
}

func (o *options) bench(ctx context.Context, b bench.Benchmark, subscriptions int) error {
	dir, err := os.MkdirTemp("", "sotto-bench-")
	if err != nil {
		return err
	}
	err = b.Run(ctx, bench.Run{
		Dir:  dir,
		Emit: func(f bench.Figure) error { return o.print(f, f.String()) },
		Note: o.note,

		Subscriptions: subscriptions,
	})
	return errors.Join(err, os.RemoveAll(dir))
}
