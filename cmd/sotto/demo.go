package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/api"
	"sotto/internal/client"
	"sotto/internal/directory"
	"sotto/internal/testnet"
	"sotto/internal/vault"
)

// demoNames are the accounts of the demo.
var demoNames = [2]string{"alice", "bob"}

// demoGreeting is the first message from alice to bob.
const demoGreeting = "Hello Bob! This came to you through three relays and a swarm, and none of them knows that we talk."

// introduceTimeout bounds how long the first message may take.
const introduceTimeout = 30 * time.Second

// demoKDF is the least cost of a vault: the passphrase is random.
var demoKDF = vault.KDFParams{MemoryKiB: 64 << 10, Passes: 3, Threads: 4}

func newDemo(o *options) *cobra.Command {
	var nodes int
	var dir string
	var noBrowser bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try it: a local network and two accounts, alice and bob, each in a browser tab",
		Long: "Starts a network on this computer and two accounts that know each other, and prints\n" +
			"the links to both web apps. Interrupt it to stop. With --dir the network and the\n" +
			"accounts' folders are kept there, else they are removed at the end. The accounts'\n" +
			"passphrases are random and kept nowhere: they are for this run only.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.demo(cmd.Context(), dir, nodes, !noBrowser)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", localNodes, fmt.Sprintf("how many nodes, %d or more", directory.MinLocal))
	cmd.Flags().StringVar(&dir, "dir", "", "keep the network in `DIR`")
	cmd.Flags().BoolVar(&noBrowser, "no-browser", false, "print the links only")
	return cmd
}

// demo is one run of the demo.
type demo struct {
	o    *options
	net  *testnet.Network
	apps [2]*client.App
	srv  [2]*api.Server
	dirs [2]string
}

func (o *options) demo(ctx context.Context, dir string, nodes int, browser bool) (err error) {
	if err := checkNodes(nodes); err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sotto-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	d := &demo{o: o}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx, dir, nodes); err != nil {
		return err
	}
	o.note("The network's file, for other accounts: %s\nInterrupt (Ctrl-C) to stop.\n", d.net.Layout().File())
	return d.serve(ctx, browser)
}

// announce prints a web app's link, and opens it in a browser if wanted.
func (d *demo) announce(i int, browser bool) error {
	link := d.srv[i].Link()
	if browser {
		openBrowser(link)
	}
	return d.o.print(struct {
		Type string `json:"type"`
		Name string `json:"name"`
		ID   string `json:"id"`
		Link string `json:"link"`
	}{"account", demoNames[i], d.id(i), link}, fmt.Sprintf("%-6s %s", demoNames[i], link))
}

func (d *demo) start(ctx context.Context, dir string, nodes int) error {
	layout, err := testnet.Prepare(dir, nodes, directory.DefaultSwarm)
	if err != nil {
		return err
	}
	d.o.note("Starting a network of %d nodes on this computer … %s", nodes, relaxed)
	if d.net, err = testnet.Start(layout, testnet.Config{}); err != nil {
		return err
	}
	d.o.note("Making two accounts …")
	for i, name := range demoNames {
		if err := d.account(ctx, i, filepath.Join(dir, "accounts"), name); err != nil {
			return err
		}
	}
	return d.introduce(ctx)
}

// account makes a fresh account; one that an earlier run left in dir has lost
// its passphrase, so it gets a folder of its own.
func (d *demo) account(ctx context.Context, i int, parent, name string) error {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	var err error
	if d.dirs[i], err = os.MkdirTemp(parent, name+"-"); err != nil {
		return err
	}
	d.apps[i], err = client.OpenProfile(client.ProfileConfig{
		Dir: d.dirs[i], NetworkFile: d.net.Layout().File(), PacketConn: d.net.ClientConn,
		Logger: d.o.logger(), KDF: demoKDF,
	})
	if err != nil {
		return err
	}
	if _, err := d.apps[i].Create(ctx, name, rand.Text()); err != nil {
		return err
	}
	d.srv[i], err = newServer(d.apps[i], "127.0.0.1:0")
	return err
}

func (d *demo) id(i int) string {
	c, err := d.apps[i].Client()
	if err != nil {
		return ""
	}
	return c.ID()
}

// introduce makes the two accounts contacts under their names, by a first
// message that goes the whole way.
func (d *demo) introduce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, introduceTimeout)
	defer cancel()
	alice, err := d.apps[0].Client()
	if err != nil {
		return err
	}
	bob, err := d.apps[1].Client()
	if err != nil {
		return err
	}
	arrived := bob.Events(ctx)
	if _, err := alice.Send(ctx, bob.ID(), demoGreeting); err != nil {
		return err
	}
	if err := nextIncoming(ctx, arrived); err != nil {
		return fmt.Errorf("the first message between the two accounts did not arrive: %w", err)
	}
	return errors.Join(
		bob.Accept(ctx, alice.ID()),
		bob.Rename(ctx, alice.ID(), demoNames[0]),
		alice.Rename(ctx, bob.ID(), demoNames[1]),
	)
}

// serve runs both web apps until ctx ends or one fails.
func (d *demo) serve(ctx context.Context, browser bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(d.srv))
	for i, s := range d.srv {
		announced := make(chan struct{}) // one after the other, in the order of names
		go func() {
			defer cancel()
			ends <- serve(ctx, s, d.dirs[i], func() error {
				defer close(announced)
				return d.announce(i, browser)
			})
		}()
		select {
		case <-announced:
		case <-ctx.Done():
		}
	}
	var errs []error
	for range d.srv {
		errs = append(errs, <-ends)
	}
	return errors.Join(errs...)
}

func (d *demo) close() error {
	var errs []error
	for _, app := range d.apps {
		if app != nil {
			errs = append(errs, app.Close())
		}
	}
	if d.net != nil {
		errs = append(errs, d.net.Close())
	}
	return errors.Join(errs...)
}

// openBrowser opens a link in the user's browser, if there is a way; the link
// is printed in any case, so a failure needs no words.
func openBrowser(link string) {
	name, args := "xdg-open", []string{link}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", link}
	}
	cmd := exec.Command(name, args...)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
