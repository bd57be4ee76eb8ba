package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/vault"
)

var errDied = errors.New("test: the process has died")

// killer lets a process die at its n-th moment of writing, counted from arm:
// from then on nothing reaches the disk any more.
type killer struct {
	mu   sync.Mutex
	left int // 0: not armed
	dead bool
	died chan struct{}
}

func (k *killer) fault(vault.Point) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errDied
	}
	if k.left > 0 {
		if k.left--; k.left == 0 {
			k.dead = true
			close(k.died)
			return errDied
		}
	}
	return nil
}

func (k *killer) arm(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left, k.dead, k.died = n, false, make(chan struct{})
}

func (k *killer) isDead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

// mortal is a person whose process can die.
type mortal struct {
	*person
	killer *killer
	deaths int
}

func newMortal(t testing.TB, s *fakeSwarm) *mortal {
	m := &mortal{killer: &killer{}}
	cfg, n := s.config(t)
	cfg.fault = m.killer.fault
	m.person = &person{t: t, cfg: cfg}
	m.open(func(a *App) error {
		_, err := a.Create(context.Background(), "", passphrase)
		return err
	})
	m.net = *n
	return m
}

func (m *mortal) revive() {
	if m.killer.isDead() {
		m.deaths++
		m.killer.arm(0)
		m.restart()
	}
}

// say sends a text, and again if the process died before it was written down.
func (m *mortal) say(to *mortal, text string) {
	m.t.Helper()
	for range 3 {
		_, err := m.Send(background(m.t), to.ID(), text)
		if err == nil {
			return
		}
		if !errors.Is(err, errDied) {
			m.t.Fatal(err)
		}
		m.revive()
		if slices.Contains(m.texts(to.person, true), text) {
			return
		}
	}
	m.t.Fatal("cannot be sent")
}

// wait waits for a condition, reviving whoever dies meanwhile.
func wait(t *testing.T, what string, ok func() bool, people ...*mortal) {
	t.Helper()
	deadline := time.Now().Add(maxWait)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		for _, p := range people {
			p.revive()
		}
		time.Sleep(2 * time.Millisecond) // two processes have no common event
	}
}

// exchange is what every crash test goes through: a first contact, answers,
// several messages at once, and their receipts. It returns false when nobody died.
func exchange(t *testing.T, victim int, n int) bool {
	s := newFakeSwarm(t, 5)
	alice, bob := newMortal(t, s), newMortal(t, s)
	people := []*mortal{alice, bob}
	wait(t, "cards are published", func() bool { return cards(alice.person, bob.person) == 16 })
	people[victim].killer.arm(n)

	alice.say(bob, "a1")
	wait(t, "a1 is there", func() bool { return len(bob.texts(alice.person, false)) >= 1 }, people...)
	bob.say(alice, "b1")
	for _, text := range []string{"a2", "a3", "a4"} {
		alice.say(bob, text)
	}
	bob.say(alice, "b2")
	complete := func(p, from *mortal, want ...string) func() bool {
		return func() bool { return len(p.texts(from.person, false)) >= len(want) }
	}
	wait(t, "bob has all", complete(bob, alice, "a1", "a2", "a3", "a4"), people...)
	wait(t, "alice has all", complete(alice, bob, "b1", "b2"), people...)
	for _, p := range people {
		other := people[0]
		if p == other {
			other = bob
		}
		wait(t, "all is delivered", func() bool {
			all, err := p.Messages(background(t), other.ID(), "", 10)
			return err == nil && !slices.ContainsFunc(all, func(m Message) bool { return m.Outgoing && m.State != MessageDelivered })
		}, people...)
	}
	for _, p := range people {
		p.killer.arm(0)
		p.revive()
	}
	if got := bob.texts(alice.person, false); !slices.Equal(got, []string{"a1", "a2", "a3", "a4"}) {
		t.Errorf("bob has %q", got)
	}
	if got := alice.texts(bob.person, false); !slices.Equal(got, []string{"b1", "b2"}) {
		t.Errorf("alice has %q", got)
	}
	for _, p := range people {
		// A key used twice would show as a replay at the other end.
		if n := p.unread.Load(); n != 0 {
			t.Errorf("%d envelopes could not be read", n)
		}
	}
	died := people[victim].deaths > 0
	for _, p := range people {
		p.app.Close()
	}
	return died
}

// TestCrash lets sender or recipient die at moments of writing, before and
// after the commit: nothing is lost, nothing comes twice, no key serves twice.
func TestCrash(t *testing.T) {
	for victim, name := range []string{"sender", "recipient"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := 3 // reaches both points of a commit, over the whole exchange
			if testing.Short() {
				step = 13
			}
			for n := 1; n < 400; n += step {
				died := false
				ok := t.Run(fmt.Sprint("write ", n), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { died = exchange(t, victim, n) })
				})
				if !ok || !died {
					break
				}
			}
		})
	}
}
