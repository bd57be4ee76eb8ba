package client

import (
	"errors"
	"testing"
	"testing/synctest"

	"sotto/internal/padding"
)

// cover returns what the network was told last, and how often somebody was at a
// conversation.
func (n *fakeNetwork) cover() (padding.Level, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.level, n.chatted
}

// The level applies at once, and again after a restart.
func TestCoverLevelIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice := newPerson(t, s)
		level := func() padding.Level {
			l, err := alice.Cover(background(t))
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		if l := level(); l != padding.Standard {
			t.Errorf("a new account has the level %v", l)
		}
		for _, name := range []string{"", "HIGH", "none"} {
			if err := alice.SetCover(background(t), name); !errors.Is(err, ErrCover) {
				t.Errorf("level %q: got %v", name, err)
			}
		}
		if err := alice.SetCover(background(t), "high"); err != nil {
			t.Fatal(err)
		}
		if l, _ := alice.net.cover(); l != padding.High || level() != padding.High {
			t.Errorf("the network has the level %v, the client %v", l, level())
		}
		alice.restart()
		if l, _ := alice.net.cover(); l != padding.High || level() != padding.High {
			t.Errorf("after a restart the network has the level %v, the client %v", l, level())
		}
	})
}

// Writing, getting, opening and reading messages are signs of a conversation in
// use.
func TestConversationsAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		count := func(p *person) int {
			_, n := p.net.cover()
			return n
		}
		if n := count(alice) + count(bob); n != 0 {
			t.Fatalf("%d before anybody did anything", n)
		}
		alice.send(bob, "hi")
		bob.has(alice, "hi")
		if count(alice) == 0 || count(bob) == 0 {
			t.Errorf("a message was sent and received: %d and %d", count(alice), count(bob))
		}
		before := count(bob)
		if _, err := bob.Client.Messages(background(t), alice.ID(), "", 10); err != nil {
			t.Fatal(err)
		}
		if err := bob.MarkRead(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		bob.Chatting()
		if n := count(bob) - before; n < 3 {
			t.Errorf("opening, reading and typing were noticed %d times", n)
		}
	})
}
