package client

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// TestBusyMembersAreLeftAlone: each member refuses what comes to it for each
// mailbox several times, by a busy frame or by a sealed refusal. Nothing comes
// before the time that it asked for, and every message arrives, once.
func TestBusyMembersAreLeftAlone(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %v", sealed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testBusyMembers(t, sealed) })
		})
	}
}

func testBusyMembers(t *testing.T, sealed bool) {
	const seconds, times = 7, 3
	s := newFakeSwarm(t, 5)
	alice, bob := newPerson(t, s), newPerson(t, s)
	befriend(alice, bob)
	bob.app.Lock()
	alice.reached(alice.send(bob, "before"), MessageStored)

	// A mailbox has one writer, and the other reads it.
	type who struct {
		at     keyPlace
		writes bool
	}
	refused, until := map[who]int{}, map[who]time.Time{}
	early, writes, reads := 0, 0, 0
	s.mu.Lock()
	s.busy = func(node identity.NodeID, req mailbox.Request) (uint32, bool) {
		var at who
		switch r := req.(type) {
		case *mailbox.Put:
			at = who{keyPlace{r.Address(), node}, true}
			writes++
		case *mailbox.Fetch:
			at = who{keyPlace{r.Address(), node}, false}
			reads++
		case *mailbox.Subscribe:
			at = who{keyPlace{r.Address(), node}, false}
			reads++
		default:
			return 0, false
		}
		now := s.nowLocked()
		if now.Before(until[at]) {
			early++
		}
		if refused[at] == times {
			return 0, false
		}
		refused[at]++
		until[at] = now.Add(seconds * time.Second)
		return seconds, sealed
	}
	s.mu.Unlock()

	begun := time.Now()
	m := alice.send(bob, "meanwhile")
	if err := bob.app.Unlock(background(t), passphrase); err != nil {
		t.Fatal(err)
	}
	bob.Client, _ = bob.app.Client()
	alice.reached(m, MessageStored, MessageDelivered)
	if took := time.Since(begun); took < seconds*time.Second || took > 2*times*seconds*time.Second {
		t.Errorf("stored after %v by members that asked for %d s, %d times each", took, seconds, times)
	}
	bob.has(alice, "hi", "before", "meanwhile")
	alice.reached(m, MessageDelivered)
	s.mu.Lock()
	defer s.mu.Unlock()
	if early > 0 {
		t.Errorf("%d requests came to members that had asked to be left alone", early)
	}
	if writes <= times || reads <= times {
		t.Errorf("%d writes and %d reads test nothing", writes, reads)
	}
}

// TestRestsStayApart: what a member says about one mailbox keeps nothing from
// it that is about another, and no member is waited for longer than maxRest.
func TestRestsStayApart(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := rests{until: map[keyPlace]time.Time{}}
	one, other := keyPlace{mailbox.Address{1}, identity.NodeID{1}}, keyPlace{mailbox.Address{2}, identity.NodeID{1}}
	r.note(one, &mailbox.Failure{Code: mailbox.CodeBusy, RetryAfter: 4}, now)
	r.note(other, &mailbox.Failure{Code: mailbox.CodeBusy}, now)
	r.note(other, mailbox.ErrBusy, now)
	if d := r.left(one, now.Add(time.Second)); d != 3*time.Second {
		t.Errorf("the mailbox that was refused is let alone for %v", d)
	}
	if d := r.left(other, now); d != 0 {
		t.Errorf("another is let alone for %v", d)
	}
	r.note(other, &mailbox.Failure{Code: mailbox.CodeBusy, RetryAfter: 1<<32 - 1}, now)
	if d := r.left(other, now); d != maxRest {
		t.Errorf("a member is let alone for %v", d)
	}
	if d := r.left(other, now.Add(-time.Hour)); d != maxRest {
		t.Errorf("a clock that was set back makes it %v", d)
	}
	for i := range 2 * maxRests {
		r.note(keyPlace{mailbox.Address{3, byte(i), byte(i >> 8)}, identity.NodeID{1}}, &mailbox.Failure{RetryAfter: 1}, now)
	}
	if len(r.until) > maxRests {
		t.Errorf("%d are remembered", len(r.until))
	}
}

// TestBusyIsNoRefusal: members that are busy do not add to what one says for
// good, also when its word is the last.
func TestBusyIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice := newPerson(t, s)
		box, err := mailbox.CardBox(alice.root, 1)
		if err != nil {
			t.Fatal(err)
		}
		liar := alice.order(box.Address())[0].ID
		var busy sync.WaitGroup
		busy.Add(len(s.order) - 1)
		refused, err := alice.each(background(t), target{loc: box}, func(_ context.Context, n directory.Node) error {
			if n.ID != liar {
				busy.Done()
				return mailbox.Refuse(mailbox.ErrBusy)
			}
			busy.Wait() // each next one is asked when this takes long
			return mailbox.Refuse(mailbox.ErrForbidden)
		})
		if refused != 1 || err == nil {
			t.Errorf("%d members refused for good: %v", refused, err)
		}
	})
}
