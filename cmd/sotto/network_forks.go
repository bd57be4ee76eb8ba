package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/client"
	"sotto/internal/directory"
	"sotto/internal/node"
)

func newNetworkForks(o *options) *cobra.Command {
	var save string
	var forget bool
	cmd := &cobra.Command{
		Use:   "forks",
		Short: "Show proofs that a network's key signed two directories as one",
		Long: "Whoever has a network's key could show one person another network. Two directories with\n" +
			"one serial prove that it happened; the profile keeps such proofs, and --save writes them to\n" +
			"files, for `sotto network show` and for others to verify.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withSession(cmd.Context(), func(ctx context.Context, s session) error {
				if err := o.showForks(ctx, s, save); err != nil || !forget {
					return err
				}
				return s.ForgetForks(ctx)
			})
		},
	}
	cmd.Flags().StringVar(&save, "save", "", "write each proof to a file in `DIR`")
	cmd.Flags().BoolVar(&forget, "forget", false, "remove the proofs from the profile afterwards")
	return cmd
}

func (o *options) showForks(ctx context.Context, s session, save string) error {
	forks, err := s.Forks(ctx)
	if err != nil {
		return err
	}
	for _, f := range forks {
		text := fmt.Sprintf("serial %d was signed twice, found %s: kept the one of %s (%d nodes), refused the one of %s (%d nodes)",
			f.Serial, f.Found.Local().Format(time.DateTime), f.Kept.Issued.Format(time.RFC3339), f.Kept.Nodes, f.Refused.Issued.Format(time.RFC3339), f.Refused.Nodes)
		if err := o.print(f, text); err != nil {
			return err
		}
		if err := saveFork(save, f); err != nil {
			return err
		}
	}
	if len(forks) == 0 {
		o.note("no directory was signed twice, as far as this profile knows")
	}
	return nil
}

func saveFork(dir string, f client.DirectoryFork) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return node.ReplaceFile(filepath.Join(dir, fmt.Sprintf("%d%s", f.Serial, node.ForkSuffix)), f.Proof)
}

// isFork tells a proof from a network's file, which is JSON.
func isFork(b []byte) bool {
	return !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
}

// forkJSON is what `sotto network show` prints of a proof.
type forkJSON struct {
	Serial  uint64      `json:"serial"`
	Kept    networkJSON `json:"kept"`
	Refused networkJSON `json:"refused"`
}

func (o *options) showFork(path string, b []byte) error {
	f, err := directory.ParseFork(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return o.print(forkJSON{f.Kept.Serial(), networkOf(f.Kept), networkOf(f.Refused)}, describeFork(f))
}

// describeFork names what differs between the two.
func describeFork(f *directory.Fork) string {
	var b strings.Builder
	key := f.Kept.NetworkKey()
	fmt.Fprintf(&b, "%s, made %s\n", f.Kept.Name(), f.Kept.Created().Format(time.RFC3339))
	fmt.Fprintf(&b, "key     %s\n", hex.EncodeToString(key[:]))
	fmt.Fprintf(&b, "serial  %d, signed twice\n", f.Kept.Serial())
	fmt.Fprintf(&b, "one     of %s, %d nodes\n", f.Kept.Issued().Format(time.RFC3339), f.Kept.Len())
	fmt.Fprintf(&b, "other   of %s, %d nodes", f.Refused.Issued().Format(time.RFC3339), f.Refused.Len())
	only := func(word string, d, other *directory.Directory) {
		for _, n := range d.Nodes() {
			if same, ok := other.Node(n.ID); !ok || same != n {
				fmt.Fprintf(&b, "\n  only in the %s: %s  %-22s %s, swarm %d", word, n.ID, n.Addr, n.Operator, n.Swarm)
			}
		}
	}
	only("one", f.Kept, f.Refused)
	only("other", f.Refused, f.Kept)
	return b.String()
}
