package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sotto/internal/api"
	"sotto/internal/client"
	"sotto/internal/directory"
	"sotto/internal/webui"
)

func newDaemon(o *options) *cobra.Command {
	var listen, network string
	cmd := &cobra.Command{
		Use:   "daemon [--listen 127.0.0.1:0]",
		Short: "Serve the web app and its API for one account, and stay connected",
		Long: "Serves the account of the profile on a loopback address and prints the link to open in\n" +
			"a browser on this computer. The link is a key: who has it and can reach this computer\n" +
			"has the account. A profile without an account is set up in the browser (give --network).\n" +
			"With a passphrase given by file or environment the account is unlocked at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.daemon(cmd.Context(), listen, network)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "the loopback `ADDRESS` to serve on")
	cmd.Flags().StringVar(&network, "network", "", "the network's `FILE`, for a profile without an account")
	return cmd
}

func (o *options) daemon(ctx context.Context, listen, network string) error {
	dir, err := o.profileDir()
	if err != nil {
		return err
	}
	app, err := client.OpenProfile(client.ProfileConfig{Dir: dir, NetworkFile: network, Logger: o.logger()})
	if err != nil {
		return err
	}
	if err := o.openForDaemon(ctx, app, dir, network); err != nil {
		return errors.Join(err, app.Close())
	}
	s, err := newServer(app, listen)
	if err != nil {
		return errors.Join(err, app.Close())
	}
	err = serve(ctx, s, dir, func() error {
		return o.print(struct {
			Type string `json:"type"`
			Link string `json:"link"`
		}{"daemon", s.Link()}, s.Link())
	})
	return errors.Join(err, app.Close())
}

// openForDaemon unlocks an account whose passphrase was given, and leaves all
// else to the browser.
func (o *options) openForDaemon(ctx context.Context, app *client.App, dir, network string) error {
	if app.State() == client.StateEmpty {
		if network == "" {
			return usagef("no account in %s: make one with `sotto init`, or give --network FILE to do it in the browser", dir)
		}
		if err := checkNetwork(network); err != nil { // before the browser finds out, in the last step
			return err
		}
		return os.MkdirAll(dir, 0o700) // for the endpoint file
	}
	passphrase, given, err := o.givenPassphrase()
	if err != nil || !given {
		return err
	}
	return app.Unlock(ctx, passphrase)
}

// checkNetwork says what is wrong with a network's file.
func checkNetwork(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the network's file cannot be used: %w", err)
	}
	n, err := directory.ParseNetwork(b)
	if err == nil {
		_, err = n.Directory()
	}
	if err != nil {
		return fmt.Errorf("the network's file %s cannot be used: %w", file, err)
	}
	return nil
}

// newServer listens for a profile's web app.
func newServer(app *client.App, listen string) (*api.Server, error) {
	l, err := api.Listen(listen)
	if err != nil {
		return nil, err
	}
	token, err := api.NewToken()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return api.New(l, api.Config{
		App: api.Profile(app), Token: token, Pages: webui.Handler(), Version: version,
	}), nil
}

// serve runs the server until ctx ends, with the endpoint file in dir by which
// the owner's commands find it. It calls ready when the file is there.
func serve(ctx context.Context, s *api.Server, dir string, ready func() error) error {
	endpoint := s.Endpoint()
	if err := api.WriteEndpointFile(dir, endpoint); err != nil {
		return err
	}
	err := ready()
	if err == nil {
		err = s.Serve(ctx)
	}
	if removed := api.RemoveEndpointFile(dir, endpoint); removed != nil {
		err = errors.Join(err, fmt.Errorf("removing the endpoint file: %w", removed))
	}
	return err
}
