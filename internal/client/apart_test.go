package client

import (
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// A mailbox whose members refuse to delete holds up no other's deletions.
func TestDeletionsHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob, carol := newPerson(t, s), newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		befriend(carol, bob)
		ch := alice.allChannels()[0]
		box, err := ch.box(ch.period(s.now(), true), true)
		if err != nil {
			t.Fatal(err)
		}
		refused := box.Locator.Address()
		s.mu.Lock()
		s.hook = func(_ identity.NodeID, req mailbox.Request) error {
			if d, ok := req.(*mailbox.Delete); ok && d.Address() == refused {
				return mailbox.ErrBusy
			}
			return nil
		}
		s.mu.Unlock()
		alice.send(bob, "stays")
		bob.has(alice, "hi", "stays")
		for range 5 {
			carol.send(bob, "goes")
		}
		bob.until("carol's messages are deleted", func() bool { return len(bob.texts(carol, false)) == 6 && s.written(carol) == 0 })
		if s.written(alice) == 0 {
			t.Error("what the members refused to delete is gone")
		}
		s.mu.Lock()
		s.hook = nil
		s.mu.Unlock()
		bob.until("alice's messages are deleted too", func() bool { return s.written(alice) == 0 })
	})
}

// When one circuit dies, its mailboxes come back far apart, since the other
// subscription of each stands; when all die, one of each is back at once.
func TestSubscriptionsComeBackApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newJoinWorld(t, joinScale{accounts: 1, periods: 1, swarms: 4, tick: time.Minute}, true, 5)
		p := w.people[0]
		p.net.calm = true
		p.come()
		p.acquaint(20)
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		p.come()
		time.Sleep(5 * time.Minute)
		began := func(from int64) (times []int64) {
			w.log.mu.Lock()
			defer w.log.mu.Unlock()
			for _, s := range w.log.sights {
				if s.Kind == sawSub && s.At >= from {
					times = append(times, s.At)
				}
			}
			return times
		}
		all := len(began(0))
		if all < 2*20 {
			t.Fatalf("%d subscriptions of 20 mailboxes", all)
		}

		at := w.log.now()
		var largest *modelCircuit
		p.net.mu.Lock()
		for _, list := range p.net.stand {
			for _, c := range list {
				if largest == nil || len(c.streams) > len(largest.streams) {
					largest = c
				}
			}
		}
		fell := len(largest.streams)
		largest.dieLocked()
		p.net.mu.Unlock()
		time.Sleep(3 * time.Minute)
		back := began(at)
		soon := 0
		for _, b := range back {
			if b-at < 5000 {
				soon++
			}
		}
		if len(back) < fell || fell < 6 {
			t.Errorf("%d of %d subscriptions came back", len(back), fell)
		}
		if soon > fell/2 {
			t.Errorf("%d of %d came back within five seconds", soon, fell)
		}

		at = w.log.now()
		p.net.mu.Lock()
		p.net.killAllLocked()
		p.net.mu.Unlock()
		time.Sleep(10 * time.Second)
		boxes := map[int32]bool{}
		w.log.mu.Lock()
		for _, s := range w.log.sights {
			if s.Kind == sawSub && s.At >= at {
				boxes[s.Box] = true
			}
		}
		w.log.mu.Unlock()
		if len(boxes) < 20 {
			t.Errorf("%d of more than 20 mailboxes are read ten seconds after all circuits died", len(boxes))
		}
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
