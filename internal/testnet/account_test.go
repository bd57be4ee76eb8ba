package testnet

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"sotto/internal/client"
	"sotto/internal/vault"
)

// testKDF keeps tests quick; the passphrases protect nothing.
var testKDF = vault.KDFParams{MemoryKiB: 64, Passes: 1, Threads: 1}

const testPassphrase = "seven horses in a row"

// testWait bounds every wait of these tests; nothing normal takes this long.
const testWait = time.Minute

// account is a client of a test's network.
type account struct {
	*client.Client
	app *client.App
	dir string
}

// newAccount makes an account and waits until others can write to it.
func newAccount(t *testing.T, n *Network, name string, log *slog.Logger) *account {
	t.Helper()
	a := &account{dir: filepath.Join(t.TempDir(), name)}
	var err error
	a.app, err = client.OpenProfile(client.ProfileConfig{
		Dir: a.dir, NetworkFile: n.Layout().File(), PacketConn: n.ClientConn, KDF: testKDF, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.app.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	if _, err := a.app.Create(ctx, name, testPassphrase); err != nil {
		t.Fatal(err)
	}
	if a.Client, err = a.app.Client(); err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(ctx); err != nil {
		t.Fatalf("publishing %s's card: %v", name, err)
	}
	return a
}

// befriend makes two accounts contacts by a first message from a to b.
func befriend(t *testing.T, a, b *account) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	come := b.Events(ctx)
	if _, err := a.Send(ctx, b.ID(), "first contact"); err != nil {
		t.Fatal(err)
	}
	await(t, come, func(e client.Event) bool {
		return e.Type == client.EventMessage && e.Message != nil && !e.Message.Outgoing
	})
	if err := b.Accept(ctx, a.ID()); err != nil {
		t.Fatal(err)
	}
}

// await returns the first event for which ok is true.
func await(t *testing.T, events <-chan client.Event, ok func(client.Event) bool) client.Event {
	t.Helper()
	for e := range events {
		if ok(e) {
			return e
		}
	}
	t.Fatal("the event did not come in time")
	return client.Event{}
}

// deliver sends text from a to b and waits for state.
func deliver(t *testing.T, a, b *account, text, state string) client.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	events := a.Events(ctx)
	m, err := a.Send(ctx, b.ID(), text)
	if err != nil {
		t.Fatal(err)
	}
	for m.State != state {
		e := await(t, events, func(e client.Event) bool { return e.Message != nil && e.Message.ID == m.ID })
		if m = *e.Message; m.State == client.MessageFailed {
			t.Fatal(errors.New(m.Reason))
		}
	}
	return m
}
