package client

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// befriend makes two people accepted contacts of one another.
func befriend(alice, bob *person) {
	alice.t.Helper()
	alice.send(bob, "hi")
	bob.has(alice, "hi")
	bob.send(alice, "hi back")
	alice.has(bob, "hi back")
}

func TestSendRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		for name, tc := range map[string]struct {
			peer, text string
			want       error
		}{
			"no ID":      {"sotto1xyz", "x", identity.ErrAccountID},
			"oneself":    {alice.ID(), "x", ErrSelf},
			"nothing":    {bob.ID(), "", ErrEmpty},
			"not UTF-8":  {bob.ID(), "\xff", ErrEmpty},
			"long":       {bob.ID(), strings.Repeat("x", maxText+1), ErrTooLong},
			"long first": {bob.ID(), strings.Repeat("x", maxFirstText+1), ErrTooLong},
		} {
			if _, err := alice.Send(background(t), tc.peer, tc.text); !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
		}
		longest := strings.Repeat("y", maxFirstText)
		alice.send(bob, longest)
		bob.has(alice, longest)
		bob.send(alice, "long enough")
		alice.has(bob, "long enough")
		m := alice.send(bob, strings.Repeat("z", maxText))
		alice.reached(m, MessageDelivered)
	})
}

func TestUsesAreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		for _, ch := range alice.allChannels() {
			in := conversationInbox{ch}
			a, _, err := alice.readTarget(in, ch.period(s.now(), false), 0)
			if err != nil {
				t.Fatal(err)
			}
			b, _, err := alice.readTarget(in, ch.period(s.now(), false), 1)
			if err != nil {
				t.Fatal(err)
			}
			if a.route.iso == b.route.iso || a.route.iso.Purpose != circuit.Receive || b.route.iso.Purpose != circuit.Receive {
				t.Errorf("the two subscriptions of a mailbox use %+v and %+v", a.route.iso, b.route.iso)
			}
			d, err := alice.destination(ch, vault.OutboxMessage, ch.period(s.now(), true))
			if err != nil || d.route.iso.Purpose != circuit.Send {
				t.Errorf("a message leaves over %+v, %v", d.route.iso, err)
			}
		}
	})
}

func TestSyncThenTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		if _, err := bob.Take(background(t)); err != nil {
			t.Fatal(err)
		}
		bob.app.Lock()
		var want []string
		for i := range 70 { // more than one Fetch brings
			want = append(want, strings.Repeat("w", i+1))
			alice.send(bob, want[i])
		}
		if err := alice.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
		if err := bob.app.Unlock(background(t), passphrase); err != nil {
			t.Fatal(err)
		}
		bob.Client, _ = bob.app.Client()
		if err := bob.Sync(background(t)); err != nil {
			t.Fatal(err)
		}
		all, err := bob.Take(background(t))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range all {
			got = append(got, m.Text)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d messages", len(got))
		}
		if err := bob.Flush(background(t)); err != nil {
			t.Fatal(err)
		}
		alice.until("all are delivered", func() bool {
			page, err := alice.Messages(background(t), bob.ID(), "", maxPage)
			return err == nil && !slices.ContainsFunc(page, func(m Message) bool { return m.Outgoing && m.State != MessageDelivered })
		})
	})
}

func TestPeriodsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		want := []string{"hi"}
		for i := range 3 { // both at work while mailboxes rotate
			s.advance(identity.PeriodLength)
			text := strings.Repeat("day ", i+1)
			want = append(want, text)
			alice.send(bob, text)
			bob.has(alice, want...)
		}
		bob.until("cards are published ahead", func() bool { return bob.ownPeriodAt(identity.PeriodAt(s.now())+identity.CardPeriodsAhead) != nil })
		wait(t, "cards are published", func() bool { return published(alice, bob) })
		// Bob is away for ten days; a friend and a stranger write.
		bob.app.Lock()
		for range 5 {
			s.advance(identity.PeriodLength)
			want = append(want, "are you there?")
			m := alice.send(bob, "are you there?")
			alice.reached(m, MessageStored)
		}
		carol := newPerson(t, s)
		m := carol.send(bob, "we do not know one another")
		carol.reached(m, MessageStored)
		s.advance(identity.PeriodLength)
		if err := bob.app.Unlock(background(t), passphrase); err != nil {
			t.Fatal(err)
		}
		bob.Client, _ = bob.app.Client()
		bob.has(alice, want...)
		bob.has(carol, "we do not know one another")
		bob.until("old prekeys are erased", func() bool {
			return bob.ownPeriodAt(identity.PeriodAt(s.now().Add(-mailbox.MaxTTL))-2) == nil
		})
	})
}

func published(people ...*person) bool {
	for _, p := range people {
		for i := range identity.Period(identity.CardPeriodsAhead + 1) {
			if own := p.ownPeriodAt(identity.PeriodAt(p.now()) + i); own == nil || own.row.CardUntil == 0 {
				return false
			}
		}
	}
	return true
}

func TestLateOutboxMovesToThePresentPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		alice.net.cut(true)
		m := alice.send(bob, "old news")
		s.advance(3 * identity.PeriodLength)
		bob.until("bob reads the new period", func() bool { return bob.Connection().State == ConnectionOnline })
		alice.net.cut(false)
		alice.reached(m, MessageStored, MessageDelivered)
		bob.has(alice, "hi", "old news")
	})
}

func TestTakeGivesEachMessageOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		var want, got []string
		for i := range 20 {
			want = append(want, strings.Repeat("m", i+1))
			alice.send(bob, want[i])
		}
		want = append([]string{"hi"}, want...)
		bob.until("all is taken", func() bool {
			all, err := bob.Take(background(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				got = append(got, m.Text)
			}
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("got %q", got)
		}
	})
}

func TestGapsAreShownAndFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		bob := newPerson(t, s)
		peer, device := [32]byte{1}, [16]byte{2}
		add := func(counter uint64) {
			err := bob.update(func(tx *vault.Tx) error {
				contact := vault.Contact{ID: peer, State: vault.ContactAccepted}
				if err := tx.SetContact(contact); err != nil {
					return err
				}
				id := [16]byte{byte(counter)}
				return bob.applyText(tx, &effects{}, contact, device, &content{Type: typeText, ID: id[:], Counter: counter, Text: "x"})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		show := func() (out []uint64) {
			err := bob.vault.View(background(t), func(tx *vault.Tx) error {
				page, err := tx.LastMessages(peer, nil, 10)
				for _, m := range page {
					gap, gerr := gapBefore(tx, m)
					out, err = append(out, m.Counter, gap), errors.Join(err, gerr)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		add(1)
		add(4)
		if got := show(); !slices.Equal(got, []uint64{1, 0, 4, 2}) {
			t.Fatalf("with a gap: %v", got)
		}
		if got, err := bob.Take(background(t)); err != nil || len(got) != 1 {
			t.Fatalf("the message behind the gap is given out at once: %v, %v", got, err)
		}
		add(3)
		add(2)
		if got := show(); !slices.Equal(got, []uint64{1, 0, 2, 0, 3, 0, 4, 0}) {
			t.Fatalf("filled: %v", got)
		}
	})
}

func TestRestoredAccountReplacesItsCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		cfg, _ := s.config(t)
		old := &person{t: t, cfg: cfg}
		var phrase string
		old.open(func(a *App) (err error) {
			phrase, err = a.Create(context.Background(), "", passphrase)
			return err
		})
		wait(t, "cards are published", func() bool { return published(old) })
		old.app.Close()
		cfg, _ = s.config(t)
		again := &person{t: t, cfg: cfg}
		again.open(func(a *App) error { return a.Restore(context.Background(), phrase, "", passphrase) })
		if again.ID() != old.ID() {
			t.Fatal("another account")
		}
		wait(t, "cards are published again", func() bool { return published(again) })
		alice := newPerson(t, s)
		alice.send(again, "which one are you?")
		again.has(alice, "which one are you?")
	})
}

func TestNothingTellsWhoTalksToWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		var log syncBuffer
		cfg, _ := s.config(t)
		cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		alice := &person{t: t, cfg: cfg}
		alice.open(func(a *App) error {
			_, err := a.Create(context.Background(), "AliceName", passphrase)
			return err
		})
		bob := newPerson(t, s)
		s.mu.Lock()
		refused := map[identity.NodeID]bool{}
		s.hook = func(node identity.NodeID, req mailbox.Request) error {
			// Errors make logs: the first contact fails at every member once.
			if p, ok := req.(*mailbox.Put); ok && p.Kind == mailbox.KindFrontDoor && !refused[node] {
				refused[node] = true
				return mailbox.ErrBusy
			}
			return nil
		}
		s.mu.Unlock()
		alice.send(bob, "SECRET-TEXT")
		bob.has(alice, "SECRET-TEXT")
		bob.send(alice, "SECRET-ANSWER")
		alice.has(bob, "SECRET-ANSWER")
		if err := alice.Rename(background(t), bob.ID(), "BobName"); err != nil {
			t.Fatal(err)
		}
		secrets := [][]byte{
			[]byte("SECRET"), []byte("AliceName"), []byte("BobName"), []byte(bob.ID()), []byte(alice.ID()),
			[]byte(bob.root.String()), []byte(alice.root.String()), bob.root[:], alice.root[:],
		}
		for _, ch := range alice.allChannels() {
			for _, out := range []bool{true, false} {
				box, err := ch.box(ch.period(s.now(), out), out)
				if err != nil {
					t.Fatal(err)
				}
				secrets = append(secrets, []byte(box.Locator.Address().String()))
			}
		}
		alice.until("something was logged", func() bool { return log.size() > 0 })
		for _, secret := range secrets {
			if bytes.Contains(log.bytes(), secret) {
				t.Errorf("the log names %q", secret)
			}
		}
		files, _ := filepath.Glob(filepath.Join(cfg.Dir, "*"))
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range append(secrets, []byte("SQLite format"), []byte("operator"), []byte("127.")) {
				if bytes.Contains(b, secret) {
					t.Errorf("%s holds %q", filepath.Base(f), secret)
				}
			}
		}
		// What the nodes hold is no better.
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.members {
			for _, box := range m.boxes {
				for _, it := range box.items {
					for _, secret := range secrets {
						if bytes.Contains(it.Envelope, secret) {
							t.Error("a node holds a secret")
						}
					}
				}
			}
		}
	})
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) size() int { return len(b.bytes()) }

func (b *syncBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.Buffer.Bytes())
}

func TestEventsOfASlowReader(t *testing.T) {
	var h hub
	ch := h.subscribe(t.Context())
	for range 2 * eventBuffer {
		h.publish(Event{Type: EventMessage})
	}
	n, last := 0, ""
	for len(ch) > 0 {
		n, last = n+1, (<-ch).Type
	}
	if n != eventBuffer || last != EventMissed {
		t.Fatalf("%d events, the last %q", n, last)
	}
	h.publish(Event{Type: EventChat})
	if e := <-ch; e.Type != EventChat {
		t.Fatalf("afterwards: %q", e.Type)
	}
	h.close()
	if _, open := <-ch; open {
		t.Fatal("still open")
	}
}

// TestSubscriptionsBeginSpread: what begins at one moment looks like one
// client's. (Ten moments that all fall within a fifth of the time do so once in
// 10^5 runs.)
func TestSubscriptionsBeginSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 10)
		cfg, n := s.config(t)
		cfg.timing.start = 300 * time.Millisecond
		bob := &person{t: t, cfg: cfg}
		bob.open(func(a *App) error {
			_, err := a.Create(context.Background(), "", passphrase)
			return err
		})
		for range 4 {
			befriend(newPerson(t, s), bob)
		}
		if err := bob.app.Close(); err != nil {
			t.Fatal(err)
		}
		bob.open(func(a *App) error { return a.Unlock(context.Background(), passphrase) })
		time.Sleep(cfg.timing.start) // virtual: those that hurry have all begun
		var at []time.Time
		for _, a := range (*n).opened(circuit.Receive) {
			if len(a.avoid) > 0 { // a subscription
				at = append(at, a.at)
			}
		}
		if len(at) < 10 {
			t.Fatalf("%d subscriptions, want 10 or more", len(at))
		}
		if d := at[len(at)-1].Sub(at[0]); d < 60*time.Millisecond {
			t.Errorf("%d subscriptions within %v", len(at), d)
		}
	})
}
