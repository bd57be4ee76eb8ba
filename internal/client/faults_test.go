package client

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

func TestMembersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5) // one swarm of five
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		var want []string
		for i := range 30 {
			text := strings.Repeat("x", i+1)
			want = append(want, text)
			alice.send(bob, text)
			switch i {
			case 5:
				s.setDown(s.order[1], true)
			case 10:
				s.setDown(s.order[3], true)
			case 20:
				s.setDown(s.order[1], false)
			}
		}
		bob.has(alice, append([]string{"hi"}, want...)...)
		if err := alice.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLostRepliesDoNotDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		lost := 0
		s.mu.Lock()
		s.mute = func(_ identity.NodeID, req mailbox.Request) bool {
			_, put := req.(*mailbox.Put)
			if put && lost < 4 {
				lost++
				return true
			}
			return false
		}
		s.mu.Unlock()
		m := alice.send(bob, "once")
		alice.reached(m, MessageDelivered)
		if got := bob.texts(alice, false); !slices.Equal(got, []string{"hi", "once"}) {
			t.Fatalf("got %q", got)
		}
		if n := bob.unread.Load(); n != 0 {
			t.Errorf("%d unreadable envelopes", n)
		}
	})
}

func TestOneMemberWithholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		for _, id := range s.order { // each in turn, the ones subscribed to among them
			s.mu.Lock()
			s.withhold = map[identity.NodeID]bool{id: true}
			s.mu.Unlock()
			before := len(bob.texts(alice, false))
			alice.send(bob, "in spite of it")
			bob.until("it is there", func() bool { return len(bob.texts(alice, false)) > before })
		}
	})
}

// TestMinorityRefuses: two members say of every put that it has expired, each
// pair in turn, the first one asked among them.
func TestMinorityRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		for i, id := range s.order {
			liars := []identity.NodeID{id, s.order[(i+1)%len(s.order)]}
			s.mu.Lock()
			s.hook = func(node identity.NodeID, req mailbox.Request) error {
				if _, put := req.(*mailbox.Put); put && slices.Contains(liars, node) {
					return mailbox.ErrExpired
				}
				return nil
			}
			s.mu.Unlock()
			alice.reached(alice.send(bob, "in spite of them"), MessageDelivered)
		}
	})
}

func TestOfflineSenderAndRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		alice.net.cut(true)
		m := alice.send(bob, "written on a train")
		alice.until("she knows that she is offline", func() bool { return alice.Connection().State == ConnectionOffline })
		bob.app.Lock()
		alice.net.cut(false)
		alice.reached(m, MessageStored)
		if err := bob.app.Unlock(background(t), passphrase); err != nil {
			t.Fatal(err)
		}
		bob.Client, _ = bob.app.Client()
		bob.has(alice, "hi", "written on a train")
		alice.reached(m, MessageDelivered)
	})
}
