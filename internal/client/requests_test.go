package client

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/vault"
)

func TestStrangersGetNoReceiptUntilAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		m := alice.send(bob, "a question")
		bob.has(alice, "a question")
		alice.reached(m, MessageStored)
		if err := bob.MarkRead(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		if err := bob.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
		if got := alice.state(m.ID); got != MessageStored {
			t.Fatalf("before acceptance: %s", got)
		}
		if err := bob.Accept(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		alice.reached(m, MessageRead)
		chats, err := bob.Chats(background(t))
		if err != nil || len(chats) != 1 || chats[0].Request {
			t.Fatalf("chats: %+v, %v", chats, err)
		}
	})
}

func TestBlockedAreDroppedSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		if err := bob.Block(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		// What is on its way while he blocks her may still be taken and dropped.
		bob.until("nothing of hers is read", func() bool { return s.reading(alice) == 0 })
		m := alice.send(bob, "unwanted")
		alice.reached(m, MessageStored)
		if err := bob.Sync(background(t)); err != nil {
			t.Fatal(err)
		}
		bob.restart()
		bob.until("he reads his front door", func() bool { return s.subscriptions() > 0 })
		bob.until("nothing of hers is read", func() bool { return s.reading(alice) == 0 })
		if s.written(alice) == 0 {
			t.Error("what somebody blocked wrote was deleted")
		}
		if _, err := bob.Send(background(t), alice.ID(), "x"); !errors.Is(err, ErrBlocked) {
			t.Fatalf("writing to somebody blocked: %v", err)
		}
		time.Sleep(time.Second) // what was sent at that very moment would count as later
		if err := bob.Unblock(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		after := alice.send(bob, "welcome again")
		bob.has(alice, "hi", "welcome again")
		alice.reached(after, MessageDelivered)
		if got := alice.state(m.ID); got != MessageStored {
			t.Errorf("what was dropped is %s", got)
		}
	})
}

// TestDeletedRequestsAreForgotten: their mailboxes are not read any more, and
// nothing of them stays. A new beginning from either side works.
func TestDeletedRequestsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		alice.send(bob, "please")
		bob.has(alice, "please")
		bob.until("he reads what she writes", func() bool { return s.reading(alice) > 0 })
		if err := bob.DeleteRequest(background(t), alice.ID()); err != nil {
			t.Fatal(err)
		}
		if all, err := bob.Requests(background(t)); err != nil || len(all) != 0 {
			t.Fatalf("requests: %v, %v", all, err)
		}
		bob.until("nothing of hers is read", func() bool { return s.reading(alice) == 0 })
		ignored := alice.send(bob, "pretty please")
		alice.reached(ignored, MessageStored)
		if err := bob.Sync(background(t)); err != nil {
			t.Fatal(err)
		}
		bob.restart()
		if n := len(bob.allChannels()); n != 0 {
			t.Fatalf("%d conversations are left", n)
		}
		if got := bob.texts(alice, false); len(got) != 0 {
			t.Fatalf("what is there of her: %q", got)
		}
		bob.send(alice, "I was wrong")
		alice.has(bob, "I was wrong")
		alice.send(bob, "never mind")
		bob.has(alice, "never mind")
	})
}

// TestFullRequestsLoseNobodyAccepted: strangers who fill the list keep further
// strangers out, and no contact.
func TestFullRequestsLoseNobodyAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob, carol := newPerson(t, s), newPerson(t, s), newPerson(t, s)
		err := bob.vault.Update(background(t), func(tx *vault.Tx) error {
			for i := range maxRequests {
				id := [32]byte{byte(i), 1}
				if err := tx.SetContact(vault.Contact{ID: id, State: vault.ContactRequest}); err != nil {
					return err
				}
			}
			return tx.SetContact(vault.Contact{ID: alice.root, State: vault.ContactAccepted})
		})
		if err != nil {
			t.Fatal(err)
		}
		stranger := carol.send(bob, "one too many")
		carol.reached(stranger, MessageStored)
		m := alice.send(bob, "an old friend with a new device")
		bob.has(alice, "an old friend with a new device")
		alice.reached(m, MessageDelivered)
		if err := bob.Sync(background(t)); err != nil {
			t.Fatal(err)
		}
		if got := bob.texts(carol, false); len(got) != 0 {
			t.Fatalf("beyond the limit: %q", got)
		}
	})
}

func TestBothWriteFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		var wg sync.WaitGroup
		for _, p := range [][2]*person{{alice, bob}, {bob, alice}} {
			wg.Go(func() { p[0].send(p[1], "me first") })
		}
		wg.Wait()
		alice.has(bob, "me first")
		bob.has(alice, "me first")
		a, b := alice.send(bob, "second"), bob.send(alice, "second")
		alice.has(bob, "me first", "second")
		bob.has(alice, "me first", "second")
		alice.reached(a, MessageDelivered)
		bob.reached(b, MessageDelivered)
		var chosen [2]vault.Conversation
		for i, p := range []*person{alice, bob} {
			other := []*person{bob, alice}[i]
			err := p.vault.View(background(t), func(tx *vault.Tx) (err error) {
				chosen[i], err = tx.SendingConversation(other.root)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if chosen[0].ID != chosen[1].ID {
			t.Error("the two write on different conversations")
		}
	})
}

func TestNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		cfg, _ := s.config(t)
		cfg.timing.patience = 20 * time.Millisecond
		alice := &person{t: t, cfg: cfg}
		alice.open(func(a *App) error {
			_, err := a.Create(context.Background(), "", passphrase)
			return err
		})
		seed, err := identity.NewSeed(alice.rand)
		if err != nil {
			t.Fatal(err)
		}
		peer := seed.Persona(0).ID().String()
		m, err := alice.Send(background(t), peer, "hello?")
		if err != nil {
			t.Fatal(err)
		}
		alice.reached(m, MessageFailed)
		got, err := alice.Message(background(t), m.ID)
		if err != nil || got.Reason != reasonNoCard {
			t.Fatalf("reason %q, %v", got.Reason, err)
		}
		// The account comes into being, and the message is tried again.
		cfg, _ = s.config(t)
		bob := &person{t: t, cfg: cfg}
		bob.open(func(a *App) error { return a.Restore(context.Background(), seed.Phrase(), "bob", passphrase) })
		if bob.ID() != peer {
			t.Fatal("the phrase makes another account")
		}
		// Not some card, but the present one, at a majority: alice's patience is short.
		if err := bob.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
		if err := alice.Retry(background(t), m.ID); err != nil {
			t.Fatal(err)
		}
		bob.has(alice, "hello?")
		if err := alice.Retry(background(t), m.ID); !errors.Is(err, ErrNotFailed) {
			t.Fatalf("second retry: %v", err)
		}
	})
}
