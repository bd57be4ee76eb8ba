package client

import (
	"fmt"
	"testing"
	"testing/synctest"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// stepsOfSubscription is what a subscription comes to at least until three pushes
// are taken in: it and its proof are written, and five frames are read, each by
// its length and its content. Where the member has a new key, that is three more.
const stepsOfSubscription = 2 + 5*2

// TestCircuitsDieAtEveryStep cuts subscriptions after their first step, after
// their second, and so on, while messages wait and while they come. All are
// shown, once and in order, and no subscription goes back behind the place of an
// earlier one.
func TestCircuitsDieAtEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		bob.until("subscribed", func() bool { return s.reading(alice) == replicas })
		places := map[string]uint64{}
		s.mu.Lock()
		s.hook = func(node identity.NodeID, req mailbox.Request) error {
			if sub, ok := req.(*mailbox.Subscribe); ok {
				a := sub.Address()
				key := string(node[:]) + string(a[:])
				if sub.Cursor.Seq < places[key] {
					t.Errorf("a subscription goes back from %d to %d", places[key], sub.Cursor.Seq)
				}
				places[key] = sub.Cursor.Seq
			}
			return nil
		}
		s.mu.Unlock()
		texts := []string{"hi"}
		send := func(text string) {
			texts = append(texts, text)
			alice.send(bob, text)
		}
		for steps := 1; steps <= stepsOfSubscription; steps++ {
			fuses := bob.net.burn(steps, 3*replicas)
			for _, id := range s.order {
				s.rotate(s.members[id])
			}
			bob.net.cut(false)
			send(fmt.Sprintf("waiting %d", steps))
			send(fmt.Sprintf("waiting, too %d", steps))
			bob.has(alice, texts...)
			send(fmt.Sprintf("coming %d", steps))
			bob.has(alice, texts...)
			bob.until("it stands again", func() bool { return s.reading(alice) == replicas })
			if burnt(fuses()) == 0 {
				t.Errorf("no subscription was cut after %d steps", steps)
			}
		}
		s.mu.Lock()
		s.hook = nil
		s.mu.Unlock()
	})
}

// burn has the next subscriptions cut after so many steps, and returns those
// that have begun.
func (n *fakeNetwork) burn(steps, count int) func() []*fuse {
	var all []*fuse
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fuse = func(a asked) *fuse {
		if len(all) == count || a.iso.Purpose != circuit.Receive || len(a.avoid) == 0 {
			return nil
		}
		f := new(fuse)
		f.left.Store(int64(steps))
		all = append(all, f)
		return f
	}
	return func() []*fuse {
		n.mu.Lock()
		defer n.mu.Unlock()
		return all
	}
}

func burnt(fuses []*fuse) (n int) {
	for _, f := range fuses {
		if f.left.Load() <= 0 {
			n++
		}
	}
	return n
}
