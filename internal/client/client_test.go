package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sotto/internal/vault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var cheapKDF = vault.KDFParams{MemoryKiB: 64, Passes: 1, Threads: 1}

// maxWait ends tests that wait in vain. Nothing is measured by it: what a quiet
// machine does in moments takes a busy one as long as it takes.
const maxWait = 2 * time.Minute

const passphrase = "correct horse battery"

// quick makes everything that waits wait less.
func quick() *timing {
	return &timing{
		receiptMin: time.Millisecond, receiptMax: 3 * time.Millisecond, tombstones: 5 * time.Millisecond, deleted: 50 * time.Millisecond, grace: time.Minute, behind: memberBehind,
		hedge: 150 * time.Millisecond, attempt: 5 * time.Second, retryMin: 5 * time.Millisecond, retryMax: 50 * time.Millisecond,
		patience: 10 * time.Second, tick: 200 * time.Millisecond, gap: 2 * time.Second,
	}
}

// person is a profile with a client at work.
type person struct {
	*Client
	t   testing.TB
	app *App
	cfg ProfileConfig
	net *fakeNetwork
}

func (s *fakeSwarm) config(t testing.TB) (ProfileConfig, **fakeNetwork) {
	n := new(*fakeNetwork)
	return ProfileConfig{
		Dir: t.TempDir(), Network: s.network, KDF: cheapKDF, timing: quick(), Now: s.now,
		Connect: func(NetworkConfig) (Network, error) {
			*n = s.client()
			return *n, nil
		},
	}, n
}

func newPerson(t testing.TB, s *fakeSwarm) *person {
	t.Helper()
	cfg, n := s.config(t)
	p := &person{t: t, cfg: cfg}
	p.open(func(a *App) error {
		_, err := a.Create(context.Background(), "somebody", passphrase)
		return err
	})
	p.net = *n
	return p
}

func (p *person) open(begin func(*App) error) {
	p.t.Helper()
	app, err := OpenProfile(p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { app.Close() })
	if err := begin(app); err != nil {
		p.t.Fatal(err)
	}
	p.app = app
	if p.Client, err = app.Client(); err != nil {
		p.t.Fatal(err)
	}
}

// restart closes the profile and opens it again, as another process would.
func (p *person) restart() {
	p.t.Helper()
	if err := p.app.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open(func(a *App) error { return a.Unlock(context.Background(), passphrase) })
}

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	t.Cleanup(cancel)
	return ctx
}

// until waits for a condition, asking after every event.
func (p *person) until(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	events := p.Events(ctx)
	for !ok() {
		select {
		case _, open := <-events:
			if !open {
				p.t.Fatalf("waited in vain until %s; connection: %+v", what, p.Connection())
			}
		case <-time.After(20 * time.Millisecond): // what has no event
		}
	}
}

func (p *person) send(to *person, text string) Message {
	p.t.Helper()
	m, err := p.Send(background(p.t), to.ID(), text)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *person) state(id string) string {
	m, err := p.Message(background(p.t), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return m.State
}

func (p *person) reached(m Message, states ...string) {
	p.t.Helper()
	p.until(fmt.Sprintf("a message is %v", states), func() bool { return slices.Contains(states, p.state(m.ID)) })
}

func (p *person) texts(with *person, outgoing bool) (out []string) {
	all, err := p.Messages(background(p.t), with.ID(), "", maxPage)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range all {
		if m.Outgoing == outgoing {
			out = append(out, m.Text)
		}
	}
	return out
}

func (p *person) has(from *person, want ...string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%d messages are there", len(want)), func() bool { return len(p.texts(from, false)) >= len(want) })
	if got := p.texts(from, false); !slices.Equal(got, want) {
		p.t.Fatalf("got %q, want %q", got, want)
	}
}

func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 10)
		alice, bob := newPerson(t, s), newPerson(t, s)
		first := alice.send(bob, "hello")
		bob.has(alice, "hello")
		alice.reached(first, MessageStored)
		requests, err := bob.Requests(background(t))
		if err != nil || len(requests) != 1 || requests[0].Peer != alice.ID() || requests[0].Unread != 1 {
			t.Fatalf("requests: %+v, %v", requests, err)
		}
		answer := bob.send(alice, "hello yourself")
		alice.has(bob, "hello yourself")
		alice.reached(first, MessageDelivered)
		bob.reached(answer, MessageDelivered)
		if err := bob.MarkRead(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		alice.reached(first, MessageRead)
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprint("number ", i))
			alice.send(bob, want[i])
		}
		bob.has(alice, append([]string{"hello"}, want...)...)
		if err := alice.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
		if err := bob.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
		bob.until("everything is deleted from the swarm", func() bool { return s.stored(0) == cards(alice, bob) })
	})
}

// cards is how many cards people have published by now.
func cards(people ...*person) (n int) {
	for _, p := range people {
		p.mu.Lock()
		for _, own := range p.periods {
			if own.row.CardUntil != 0 {
				n++
			}
		}
		p.mu.Unlock()
	}
	return n
}

func TestRestartKeepsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		alice.send(bob, "one")
		bob.has(alice, "one")
		bob.send(alice, "two")
		alice.has(bob, "two")
		alice.restart()
		bob.restart()
		m := alice.send(bob, "three")
		bob.has(alice, "one", "three")
		alice.reached(m, MessageDelivered)
		if got := alice.texts(bob, true); !slices.Equal(got, []string{"one", "three"}) {
			t.Fatalf("alice's own: %q", got)
		}
		id := alice.ID()
		alice.app.Lock()
		if alice.app.State() != StateLocked {
			t.Fatal("not locked")
		}
		if err := alice.app.Unlock(background(t), "wrong passphrase"); !errors.Is(err, vault.ErrPassphrase) {
			t.Fatalf("wrong passphrase: %v", err)
		}
		if err := alice.app.Unlock(background(t), passphrase); err != nil {
			t.Fatal(err)
		}
		if c, err := alice.app.Client(); err != nil || c.ID() != id {
			t.Fatalf("after unlocking: %v", err)
		}
	})
}
