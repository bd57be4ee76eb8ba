package client

import (
	"sync"
	"testing"
	"testing/synctest"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// Mailboxes are spread evenly over the lanes, and the two subscriptions of one
// never share a lane.
func TestLanesAreSpread(t *testing.T) {
	var pairs [circuit.Lanes][circuit.Lanes]int
	const boxes = 1 << 16
	for i := range boxes { // whatever the first two bytes of an address are
		a := mailbox.Address{byte(i >> 8), byte(i)}
		first := receiveUse(0, lane(a, 0)).Lane
		second := receiveUse(0, lane(a, 1)).Lane
		pairs[first][second]++
	}
	for i := range pairs {
		for j, n := range pairs[i] {
			switch even := boxes / circuit.Lanes / (circuit.Lanes - 1); {
			case i == j && n != 0:
				t.Errorf("%d mailboxes have both subscriptions on lane %d", n, i)
			case i != j && (n < even*98/100 || n > even*102/100):
				t.Errorf("%d mailboxes on lanes %d and %d, about %d expected", n, i, j, even)
			}
		}
	}
}

// What a client at work asks its network for: subscriptions on receiving lanes,
// each mailbox's two on different ones with their exits kept apart and at
// members of different operators, and everything else on circuits for sending.
func TestSubscriptionsUseTwoLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		bob.until("subscribed", func() bool { return s.reading(alice) == replicas })
		lanes := map[circuit.Isolation]bool{}
		for _, a := range bob.net.opened(circuit.Receive) {
			if len(a.avoid) == 0 {
				continue // no subscription: an old period is read, or a tombstone is put
			}
			lanes[a.iso] = true
			if len(a.avoid) != 1 || a.avoid[0] == a.iso || a.avoid[0].Purpose != circuit.Receive || a.avoid[0].Persona != a.iso.Persona {
				t.Errorf("a subscription on %+v keeps its exit apart from %+v", a.iso, a.avoid)
			}
		}
		if len(lanes) < 2 {
			t.Errorf("mailboxes are subscribed to over %d lanes", len(lanes))
		}
		if len(bob.net.opened(circuit.Bulk)) != 0 || len(bob.net.opened(circuit.Send)) == 0 {
			t.Error("messages did not leave over circuits for sending")
		}
		ch := alice.allChannels()[0]
		box, err := ch.box(ch.period(s.now(), true), true)
		if err != nil {
			t.Fatal(err)
		}
		operators := map[string]bool{}
		s.mu.Lock()
		defer s.mu.Unlock()
		for id, m := range s.members {
			if b := m.boxes[box.Locator.Address()]; b != nil && len(b.subs) > 0 {
				n, _ := s.dir.Node(id)
				operators[n.Operator] = true
			}
		}
		if len(operators) != replicas {
			t.Errorf("the mailbox is read at members of %d operators, want %d", len(operators), replicas)
		}
	})
}

// When circuits retire, subscriptions stand on new ones before the old end:
// pushes go on even if no new one can be made for a while.
func TestRetiringCircuitsDropNoPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		bob.until("subscribed", func() bool { return s.reading(alice) == replicas })
		refused := make(chan struct{})
		first := sync.OnceFunc(func() { close(refused) })
		hook := func(f func(identity.NodeID, mailbox.Request) error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.hook = f
		}
		hook(func(_ identity.NodeID, req mailbox.Request) error {
			if _, ok := req.(*mailbox.Subscribe); ok {
				first()
				return mailbox.ErrBusy
			}
			return nil
		})
		bob.net.retire()
		<-refused
		alice.send(bob, "over the old circuit")
		bob.has(alice, "hi", "over the old circuit")
		if n := s.reading(alice); n != replicas {
			t.Errorf("%d subscriptions stand while no other can be made, want %d", n, replicas)
		}
		hook(nil)
		bob.until("nothing is left on the old circuits", func() bool { return bob.net.retired() == 0 })
		alice.send(bob, "over the new one")
		bob.has(alice, "hi", "over the old circuit", "over the new one")
		bob.until("two subscriptions", func() bool { return s.reading(alice) == replicas })
	})
}
