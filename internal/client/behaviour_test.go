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

func TestStrangersGetNoReceiptUntilAccepted(t *testing.T) {
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
}

func TestBlockedAreDroppedSilently(t *testing.T) {
	s := newFakeSwarm(t, 5)
	alice, bob := newPerson(t, s), newPerson(t, s)
	befriend(alice, bob)
	if err := bob.Block(background(t), alice.ID()); err != nil {
		t.Fatal(err)
	}
	m := alice.send(bob, "unwanted")
	alice.reached(m, MessageStored)
	bob.until("the envelope is taken in", func() bool { return s.stored(0) == cards(alice, bob) })
	if _, err := bob.Send(background(t), alice.ID(), "x"); !errors.Is(err, ErrBlocked) {
		t.Fatalf("writing to somebody blocked: %v", err)
	}
	if err := bob.Unblock(background(t), alice.ID()); err != nil {
		t.Fatal(err)
	}
	after := alice.send(bob, "welcome again")
	bob.has(alice, "hi", "welcome again")
	alice.reached(after, MessageDelivered)
	if got := alice.state(m.ID); got != MessageStored {
		t.Errorf("what was dropped is %s", got)
	}
}

func TestDeletedRequestMayAskAgain(t *testing.T) {
	s := newFakeSwarm(t, 5)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.send(bob, "please")
	bob.has(alice, "please")
	if err := bob.DeleteRequest(background(t), alice.ID()); err != nil {
		t.Fatal(err)
	}
	if all, err := bob.Requests(background(t)); err != nil || len(all) != 0 {
		t.Fatalf("requests: %v, %v", all, err)
	}
	alice.send(bob, "pretty please")
	bob.has(alice, "pretty please")
	if all, err := bob.Requests(background(t)); err != nil || len(all) != 1 {
		t.Fatalf("requests: %v, %v", all, err)
	}
}

func TestBothWriteFirst(t *testing.T) {
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
}

func TestNobodyThere(t *testing.T) {
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
	bob.until("his card is there", func() bool { return cards(bob) > 0 })
	if err := alice.Retry(background(t), m.ID); err != nil {
		t.Fatal(err)
	}
	bob.has(alice, "hello?")
	if err := alice.Retry(background(t), m.ID); !errors.Is(err, ErrNotFailed) {
		t.Fatalf("second retry: %v", err)
	}
}

func TestSendRefuses(t *testing.T) {
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
}

func TestMembersFail(t *testing.T) {
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
}

func TestLostRepliesDoNotDouble(t *testing.T) {
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
}

func TestOneMemberWithholds(t *testing.T) {
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
}

func TestUsesAreKeptApart(t *testing.T) {
	s := newFakeSwarm(t, 5)
	alice, bob := newPerson(t, s), newPerson(t, s)
	befriend(alice, bob)
	for _, ch := range alice.allChannels() {
		in := conversationInbox{ch}
		a, _, err := alice.readTarget(in, ch.period(s.now()), 0)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := alice.readTarget(in, ch.period(s.now()), 1)
		if err != nil {
			t.Fatal(err)
		}
		if a.route.iso == b.route.iso || a.route.iso.Purpose != circuit.Receive || b.route.iso.Purpose != circuit.Receive {
			t.Errorf("the two subscriptions of a mailbox use %+v and %+v", a.route.iso, b.route.iso)
		}
		d, err := alice.destination(ch, vault.OutboxMessage, ch.period(s.now()))
		if err != nil || d.route.iso.Purpose != circuit.Send {
			t.Errorf("a message leaves over %+v, %v", d.route.iso, err)
		}
	}
}

func TestSyncThenTake(t *testing.T) {
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
}

func TestOfflineSenderAndRecipient(t *testing.T) {
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
}

func TestPeriodsPass(t *testing.T) {
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
}

func TestTakeGivesEachMessageOnceAndInOrder(t *testing.T) {
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
}

func TestGapsAreShownAndFilled(t *testing.T) {
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
}

func TestRestoredAccountReplacesItsCard(t *testing.T) {
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
}

func TestNothingTellsWhoTalksToWhom(t *testing.T) {
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
	n := 0
	s.hook = func(identity.NodeID, mailbox.Request) error { // errors make logs
		if n++; n%5 == 0 {
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
	secrets := [][]byte{[]byte("SECRET"), []byte("AliceName"), []byte("BobName"), []byte(bob.ID()), []byte(alice.ID()),
		[]byte(bob.root.String()), []byte(alice.root.String()), bob.root[:], alice.root[:]}
	for _, ch := range alice.allChannels() {
		for _, out := range []bool{true, false} {
			box, err := ch.box(ch.period(s.now()), out)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, []byte(box.Locator.Address().String()))
		}
	}
	if log.Len() == 0 {
		t.Fatal("nothing was logged: the test looks at nothing")
	}
	for _, secret := range secrets {
		if bytes.Contains(log.Bytes(), secret) {
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
