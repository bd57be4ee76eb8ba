package webui_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sotto/internal/api"
	"sotto/internal/api/apitest"
	"sotto/internal/client"
	"sotto/internal/webui"
)

// browserTimeout bounds the whole run of the browser.
const browserTimeout = 3 * time.Minute

// TestBrowser drives the app in Chromium against accounts in memory. It runs
// when SOTTO_BROWSER is set (to the browser's path, or "1" for Debian's), since
// it needs node, npm's packages and a browser; SOTTO_SCREENSHOTS names a folder
// for pictures.
func TestBrowser(t *testing.T) {
	browser := os.Getenv("SOTTO_BROWSER")
	if browser == "" {
		t.Skip("SOTTO_BROWSER is not set")
	}
	if browser == "1" {
		browser = "/usr/bin/chromium"
	}
	if _, err := os.Stat(filepath.Join("app", "node_modules")); err != nil {
		t.Skip("run npm ci in internal/webui/app first")
	}
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithTimeout(context.Background(), browserTimeout)
	defer cancel()

	net := apitest.NewNet(time.Now)
	a, b, fresh := net.App(), net.App(), net.App()
	fresh.Slow = time.Second
	for name, app := range map[string]*apitest.App{"alice": a, "bob": b} {
		if _, err := app.Create(ctx, name, "correct horse battery"); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("SOTTO_GALLERY") != "" {
		furnish(ctx, t, net, a, b)
	}
	cmd := exec.CommandContext(ctx, "node", "e2e/run.mjs")
	cmd.Dir = "app"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "SOTTO_BROWSER="+browser,
		"SOTTO_LINK_A="+serve(ctx, t, a), "SOTTO_LINK_B="+serve(ctx, t, b), "SOTTO_LINK_NEW="+serve(ctx, t, fresh))
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

// serve runs a server until the test ends and returns its link.
func serve(ctx context.Context, t *testing.T, app api.App) string {
	t.Helper()
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	token, err := api.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	s := api.New(l, api.Config{App: app, Token: token, Pages: webui.Handler(), Version: "0.1.0-test"})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Link()
}

// furnish fills the two accounts with enough to look at.
func furnish(ctx context.Context, t *testing.T, net *apitest.Net, a, b *apitest.App) {
	t.Helper()
	at := func(app *apitest.App) *apitest.Client {
		c, err := app.Client()
		if err != nil {
			t.Fatal(err)
		}
		return c.(*apitest.Client)
	}
	alice, bob := at(a), at(b)
	now := time.Now()
	say := func(from, to api.Client, ago time.Duration, text string) client.Message {
		net.SetClock(func() time.Time { return now.Add(-ago) })
		m, err := from.Send(ctx, to.ID(), text)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	others := []struct {
		name, text string
		stranger   bool
	}{
		{"Mara", "I left the envelope with the concierge. Blue tape.", false},
		{"Jonas (desk)", "Legal says yes. Friday it is.", false},
		{"Source 14", "Can we move the call to a message instead?", false},
		{"", "Hello, I was given your ID by a colleague. I have documents that your paper should see.", true},
	}
	for i, o := range others {
		app := net.App()
		if _, err := app.Create(ctx, "other", "correct horse battery"); err != nil {
			t.Fatal(err)
		}
		other := at(app)
		say(other, alice, time.Duration(40-i*11)*time.Hour, o.text)
		if o.stranger {
			continue
		}
		if err := alice.Rename(ctx, other.ID(), o.name); err != nil {
			t.Fatal(err)
		}
		if err := alice.Accept(ctx, other.ID()); err != nil {
			t.Fatal(err)
		}
	}
	say(alice, bob, 26*time.Hour, "Are you still in Lisbon?")
	if err := bob.Accept(ctx, alice.ID()); err != nil {
		t.Fatal(err)
	}
	for app, name := range map[*apitest.Client]string{alice: "Bob Almeida", bob: "Alice"} {
		peer := map[*apitest.Client]string{alice: bob.ID(), bob: alice.ID()}[app]
		if err := app.Rename(ctx, peer, name); err != nil {
			t.Fatal(err)
		}
	}
	say(bob, alice, 25*time.Hour, "Until Thursday. The archive gave me a reading room and a very old scanner.")
	say(bob, alice, 25*time.Hour, "Bring coffee.")
	say(alice, bob, 3*time.Hour, "I went through the ledgers you sent last week. Pages 12 to 19 match the shipping records, down to the initials in the margin. I’d like to see the originals before we write a word.")
	say(alice, bob, 3*time.Hour, "Is tomorrow at nine possible?")
	say(bob, alice, 2*time.Hour, "Nine is good. Side entrance, it’s quieter.")
	if err := bob.MarkRead(ctx, alice.ID()); err != nil {
		t.Fatal(err)
	}
	say(alice, bob, 10*time.Minute, "I’ll be there. Nothing on the phone until then.")
	say(alice, bob, 2*time.Minute, "fail:no storage node has answered for two days|Sources first, lawyers second.")
	net.SetClock(time.Now)
}
