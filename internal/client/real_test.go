package client_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"sotto/internal/client"
	"sotto/internal/testnet"
	"sotto/internal/vault"
)

// realPerson is an account on a network of real nodes in this process.
func realPerson(t testing.TB, n *testnet.Network) *client.Client {
	t.Helper()
	app, err := client.OpenProfile(client.ProfileConfig{
		Dir: t.TempDir(), NetworkFile: n.Layout().File(), PacketConn: n.ClientConn,
		KDF: vault.KDFParams{MemoryKiB: 64, Passes: 1, Threads: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	if _, err := app.Create(t.Context(), "", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	c, err := app.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOnRealNodes holds a conversation through real circuits and a real swarm,
// of which two members stop in the middle and a client locks and unlocks.
func TestOnRealNodes(t *testing.T) {
	l, err := testnet.Prepare(t.TempDir(), 10, 5)
	if err != nil {
		t.Fatal(err)
	}
	n, err := testnet.Start(l, testnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	alice, bob := realPerson(t, n), realPerson(t, n)
	exchange := func(from, to *client.Client, count int, between func(i int)) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		events := to.Events(ctx)
		var want []string
		for i := range count {
			text := fmt.Sprint("number ", i)
			want = append(want, text)
			if _, err := from.Send(ctx, to.ID(), text); err != nil {
				t.Fatal(err)
			}
			between(i)
		}
		for {
			var got []string
			all, err := to.Messages(ctx, from.ID(), "", 500)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if !m.Outgoing {
					got = append(got, m.Text)
				}
			}
			if slices.Equal(got, want) {
				return
			}
			if _, open := <-events; !open {
				t.Fatalf("%d of %d messages: %q", len(got), len(want), got)
			}
		}
	}
	exchange(bob, alice, 1, func(int) {})
	exchange(alice, bob, 60, func(i int) {
		if i == 10 || i == 30 { // two of one swarm of five, which keeps a majority
			if err := n.StopNode(i/10 + 1); err != nil {
				t.Error(err)
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := alice.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := bob.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if s := alice.Connection(); s.State != client.ConnectionOnline {
		t.Errorf("connection: %+v", s)
	}
	if paths := alice.Paths(); len(paths) == 0 || paths[0].Guard.ID == "" {
		t.Errorf("paths: %+v", paths)
	}
}
