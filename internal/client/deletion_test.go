package client

import (
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// tombstones counts what is still to be deleted.
func (p *person) tombstones() (n int) {
	err := p.vault.View(p.t.Context(), func(tx *vault.Tx) error {
		boxes, err := tx.TombstoneBoxes()
		n = len(boxes)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// watchDeletes notes at which members a writer's mailbox is deleted from, and
// has those that are away answer nothing.
func (s *fakeSwarm) watchDeletes(writer *person, away map[identity.NodeID]bool) (asked func() map[identity.NodeID]int) {
	ch := writer.allChannels()[0]
	box, err := ch.box(ch.period(s.now(), true), true)
	if err != nil {
		writer.t.Fatal(err)
	}
	counts := map[identity.NodeID]int{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = func(node identity.NodeID, req mailbox.Request) error {
		if d, ok := req.(*mailbox.Delete); ok && d.Address() == box.Locator.Address() {
			counts[node]++
			if away[node] {
				return mailbox.ErrUnavailable
			}
		}
		return nil
	}
	return func() map[identity.NodeID]int {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := map[identity.NodeID]int{}
		for id, n := range counts {
			out[id] = n
		}
		return out
	}
}

// TestDeletedOnTheWordOfAMajority: a minority says that it deleted, and neither
// does so nor tells others.
func TestDeletedOnTheWordOfAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		ch := alice.allChannels()[0]
		box, err := ch.box(ch.period(s.now(), true), true)
		if err != nil {
			t.Fatal(err)
		}
		first := bob.order(box.Locator.Address()) // those it asks first
		s.mu.Lock()
		s.alone = map[identity.NodeID]bool{first[0].ID: true, first[1].ID: true}
		s.mu.Unlock()
		alice.send(bob, "read and gone")
		alice.until("it is stored", func() bool { return s.written(alice) > 0 })
		bob.until("it is deleted", func() bool { return s.written(alice) == 0 })
		bob.until("nothing is left to delete", func() bool { return bob.tombstones() == 0 })
	})
}

// TestDeletionWaitsForAMajority: two that are away hold up nothing; with three
// the tombstones stay, and who has taken them is not asked again.
func TestDeletionWaitsForAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		bob.until("nothing is left to delete", func() bool { return bob.tombstones() == 0 })
		away := map[identity.NodeID]bool{s.order[0]: true, s.order[1]: true}
		asked := s.watchDeletes(alice, away)
		alice.send(bob, "two are away")
		alice.until("it is stored", func() bool { return s.written(alice) > 0 })
		bob.until("it is deleted", func() bool { return s.written(alice) == 0 && bob.tombstones() == 0 })
		for _, id := range s.order[2:] {
			if n := asked()[id]; n != 1 {
				t.Errorf("%d requests to a member that answers", n)
			}
		}

		away = map[identity.NodeID]bool{s.order[0]: true, s.order[1]: true, s.order[2]: true}
		asked = s.watchDeletes(alice, away)
		alice.send(bob, "three are away")
		bob.until("the two others have taken it", func() bool { return asked()[s.order[3]] > 0 && asked()[s.order[4]] > 0 })
		time.Sleep(time.Minute)
		got := asked()
		if got[s.order[3]] != 1 || got[s.order[4]] != 1 || got[s.order[2]] < 2 {
			t.Errorf("asked %v", got)
		}
		if bob.tombstones() == 0 {
			t.Error("forgotten though a minority has taken it")
		}
		s.mu.Lock()
		s.hook = nil
		s.mu.Unlock()
		bob.until("nothing is left to delete", func() bool { return bob.tombstones() == 0 })
	})
}
