package client

import (
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// TestOldMailboxesAreReadAtAllMembers: what a majority has shown may lack what
// an honest member alone has. One that is away holds up nothing.
func TestOldMailboxesAreReadAtAllMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		if err := bob.app.Close(); err != nil {
			t.Fatal(err)
		}
		ch := alice.allChannels()[0]
		box, err := ch.box(ch.period(s.now(), true), true)
		if err != nil {
			t.Fatal(err)
		}
		a := box.Locator.Address()
		nodes := bob.order(a)
		alice.reached(alice.send(bob, "while he is away"), MessageStored)
		last := nodes[len(nodes)-1].ID // the one that is asked last alone has it
		away := nodes[0].ID
		asked := map[identity.NodeID]bool{}
		s.mu.Lock()
		for id, m := range s.members {
			if b := m.box(a); id != last {
				b.items, b.seqs = nil, nil
			}
		}
		s.hook = func(node identity.NodeID, req mailbox.Request) error {
			if f, ok := req.(*mailbox.Fetch); ok && f.Address() == a {
				asked[node] = true
				if node == away {
					return mailbox.ErrUnavailable
				}
			}
			return nil
		}
		s.mu.Unlock()
		s.advance(identity.PeriodLength + 2*time.Hour)
		bob.open(func(app *App) error { return app.Unlock(t.Context(), passphrase) })
		bob.has(alice, "hi", "while he is away")
		bob.until("it is noted as read", func() bool {
			_, old := bob.watched(bob.conversation().in, s.now())
			return len(old) == 0
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(asked) != len(nodes) {
			t.Errorf("read at %d of %d members", len(asked), len(nodes))
		}
	})
}
