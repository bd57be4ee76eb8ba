package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sotto/internal/client"
)

// phraseEnv holds the phrase for restore where no terminal can ask for it.
const phraseEnv = "SOTTO_PHRASE"

// maxPhrase bounds what is read as a phrase, in bytes.
const maxPhrase = 1 << 10

func newInit(o *options) *cobra.Command {
	var network, name string
	cmd := &cobra.Command{
		Use:   "init --network FILE [--name NAME]",
		Short: "Make an account and print its phrase once",
		Long: "Makes an account in the profile. Its 24-word phrase is printed this once and is the\n" +
			"only way back if the device is lost: write it on paper.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withNewProfile(cmd.Context(), network, func(ctx context.Context, app *client.App, passphrase string) error {
				phrase, err := app.Create(ctx, name, passphrase)
				if err != nil {
					return err
				}
				c, err := app.Client()
				if err != nil {
					return err
				}
				// The phrase comes before the network, which may not answer: an
				// interrupted command must not leave an account without it.
				id := c.ID()
				err = o.print(struct {
					ID     string `json:"id"`
					Phrase string `json:"phrase"`
				}{id, phrase}, "Your phrase, shown this once. Write it on paper:\n\n"+columns(phrase)+"\nYour ID:\n\n  "+id)
				return errors.Join(err, o.publish(ctx, c))
			})
		},
	}
	networkFlags(cmd, &network, &name)
	return cmd
}

func newRestore(o *options) *cobra.Command {
	var network, name, phraseFile string
	cmd := &cobra.Command{
		Use:   "restore --network FILE [--phrase-file FILE]",
		Short: "Make the same account again from its phrase",
		Long: "Makes the account of a 24-word phrase in an empty profile. The phrase is asked for, or\n" +
			"read from --phrase-file, " + phraseEnv + " or standard input.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withNewProfile(cmd.Context(), network, func(ctx context.Context, app *client.App, passphrase string) error {
				phrase, err := o.phrase(phraseFile)
				if err != nil {
					return err
				}
				if err := app.Restore(ctx, phrase, name, passphrase); err != nil {
					return err
				}
				c, err := app.Client()
				if err != nil {
					return err
				}
				id := c.ID()
				err = o.print(struct {
					ID string `json:"id"`
				}{id}, id)
				return errors.Join(err, o.publish(ctx, c))
			})
		},
	}
	networkFlags(cmd, &network, &name)
	cmd.Flags().StringVar(&phraseFile, "phrase-file", "", "read the phrase from `FILE`")
	return cmd
}

func newID(o *options) *cobra.Command {
	var qr bool
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Print the account's ID",
		Long: "Prints the account's ID, and as a note the key of its network: people who cannot reach one\n" +
			"another compare these keys. One who was given another network's file has another key.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withSession(cmd.Context(), func(_ context.Context, s session) error {
				if qr && !o.json {
					qrterminal.GenerateHalfBlock(s.ID(), qrterminal.M, o.out)
				}
				n := s.Network()
				o.note("The network is %s, with %d nodes and the key %s.", printable(n.Name), n.Nodes, n.Key)
				return o.print(struct {
					ID      string             `json:"id"`
					Network client.NetworkInfo `json:"network"`
				}{s.ID(), s.Network()}, s.ID())
			})
		},
	}
	cmd.Flags().BoolVar(&qr, "qr", false, "show it as a QR code as well")
	return cmd
}

func networkFlags(cmd *cobra.Command, network, name *string) {
	cmd.Flags().StringVar(network, "network", "", "the network's `FILE` (network.json)")
	cmd.Flags().StringVar(name, "name", "", "a `NAME` for yourself; nobody else sees it")
	if err := cmd.MarkFlagRequired("network"); err != nil {
		panic(err) // the flag is defined two lines above
	}
}

// withNewProfile runs do with an empty profile and the passphrase for it.
func (o *options) withNewProfile(ctx context.Context, network string, do func(context.Context, *client.App, string) error) error {
	dir, err := o.profileDir()
	if err != nil {
		return err
	}
	app, err := client.OpenProfile(client.ProfileConfig{Dir: dir, NetworkFile: network, Logger: o.logger()})
	if err != nil {
		return err
	}
	if app.State() != client.StateEmpty {
		return errors.Join(fmt.Errorf("%s holds an account already; name another folder with --profile", dir), app.Close())
	}
	passphrase, err := o.passphrase(true)
	if err == nil {
		err = do(ctx, app, passphrase)
	}
	return errors.Join(err, app.Close())
}

// publish waits until others can write to the new account. An unreachable
// network is no error: the cards are published at the next start.
func (o *options) publish(ctx context.Context, c *client.Client) error {
	all, err := flush(ctx, c)
	if err == nil && !all {
		o.note("The network did not answer, so nobody can write to you yet. The next command that reaches it makes up for it.")
	}
	return err
}

// columns lays a phrase out in rows of four numbered words.
func columns(phrase string) string {
	var b strings.Builder
	for i, w := range strings.Fields(phrase) {
		fmt.Fprintf(&b, "  %2d %-10s", i+1, w)
		if i%4 == 3 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// phrase returns the 24 words from the file, the environment or the input.
func (o *options) phrase(file string) (string, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("phrase file: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxPhrase))
		return string(b), err
	}
	if p := os.Getenv(phraseEnv); p != "" {
		return p, nil
	}
	if in, ok := o.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return o.ask(in, "The 24 words: ")
	}
	line, err := bufio.NewReader(io.LimitReader(o.stdin, maxPhrase)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the phrase: %w", err)
	}
	return line, nil
}
