package client

import (
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// newMorning is a swarm early in a day, and two people whose mailboxes change at
// midnight: each reads one mailbox of the conversation, whatever the hour of the
// test. The second looks soon for what one member did not bring.
func newMorning(t *testing.T) (s *fakeSwarm, alice, bob *person) {
	t.Helper()
	s = newFakeSwarm(t, 5)
	s.advance(time.Until(identity.PeriodAt(s.now()).End().Add(6 * time.Hour)))
	alice, bob = watcher(t, s, time.Minute), watcher(t, s, 100*time.Millisecond)
	befriend(alice, bob)
	bob.settled(s, alice)
	return s, alice, bob
}

// watcher is a person for whom no member is slow, however busy the machine, and
// who looks after grace for what one of them did not bring.
func watcher(t *testing.T, s *fakeSwarm, grace time.Duration) *person {
	t.Helper()
	cfg, n := s.config(t)
	cfg.timing.grace, cfg.timing.unphased = grace, true
	cfg.timing.hedge, cfg.timing.attempt = maxWait, maxWait
	p := &person{t: t, cfg: cfg}
	p.open(func(a *App) error {
		_, err := a.Create(context.Background(), "somebody", passphrase)
		return err
	})
	p.net = *n
	return p
}

// settled waits until all that a writer has sent was read and deleted, so that
// nothing is being looked for.
func (p *person) settled(s *fakeSwarm, writer *person) {
	p.t.Helper()
	if err := writer.Flush(background(p.t)); err != nil {
		p.t.Fatal(err)
	}
	p.until("nothing is looked for", func() bool {
		p.witness.mu.Lock()
		defer p.witness.mu.Unlock()
		return len(p.witness.sightings) == 0 && s.written(writer) == 0
	})
}

// remembers reports whether so many faults of a member are in the vault.
func (p *person) remembers(id identity.NodeID, total uint32) bool {
	stored := newWitness()
	err := p.vault.View(p.t.Context(), func(tx *vault.Tx) error {
		b, err := tx.Setting(settingHeld)
		if err == nil {
			stored.decode(b)
		}
		return err
	})
	if err != nil && !errors.Is(err, vault.ErrNotFound) {
		p.t.Fatal(err)
	}
	f := stored.faults[id]
	return f != nil && f.total == total
}

// askAgain makes a person read at a member again, as if it had got better.
func (p *person) askAgain(id identity.NodeID) {
	p.t.Helper()
	p.until("it is subscribed at again", func() bool {
		if a, b := p.conversation().members(); a == id || b == id {
			return true
		}
		p.net.cut(false) // what was asked meanwhile fails with it
		p.fmu.Lock()
		clear(p.failed)
		p.fmu.Unlock()
		return false
	})
}

// heldAgainst returns what is held against a member.
func (p *person) heldAgainst(id identity.NodeID) (found MemberFault) {
	all, err := p.MemberFaults(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range all {
		if f.Node.ID == hex.EncodeToString(id[:]) {
			found = f
		}
	}
	return found
}

// conversation returns the watch of a person's one conversation, when both of
// its subscriptions stand.
func (p *person) conversation() (out *watch) {
	p.until("both subscriptions of the conversation stand", func() bool {
		p.witness.mu.Lock()
		defer p.witness.mu.Unlock()
		for key, w := range p.witness.watches {
			if key.inbox == ([32]byte{}) {
				continue
			}
			w.mu.Lock()
			if w.stands[0] != nil && w.stands[1] != nil && w.stands[0].stands() && w.stands[1].stands() {
				out = w
			}
			w.mu.Unlock()
		}
		return out != nil
	})
	return out
}

func (s *fakeSwarm) keepBack(ids ...identity.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withhold = map[identity.NodeID]bool{}
	for _, id := range ids {
		s.withhold[id] = true
	}
}

func (w *watch) members() (first, second identity.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stands[0].node, w.stands[1].node
}

// TestWithholdingMemberIsFoundOut has one of the two keep messages back, until
// it is blamed, and nobody else.
func TestWithholdingMemberIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		liar, honest := bob.conversation().members()
		s.keepBack(liar)
		for n := 1; n <= strikesToBlame; n++ {
			alice.send(bob, "in spite of it")
			bob.until("it is found out", func() bool { return bob.remembers(liar, uint32(n)) })
			if f := bob.heldAgainst(liar); f.Count != n || f.Until.IsZero() != (n < strikesToBlame) {
				t.Errorf("held against it after %d: %+v", n, f)
			}
			if a, b := bob.conversation().members(); a == liar || b == liar {
				t.Error("the subscription stays where messages are kept back")
			}
			if n == strikesToBlame {
				break
			}
			bob.settled(s, alice) // or what is looked for still would count again
			s.advance(2 * strikeApart)
			bob.askAgain(liar)
		}
		if f := bob.heldAgainst(liar); f.Until.Before(s.now()) || f.Node.Operator == "" {
			t.Errorf("not asked last: %+v", f)
		}
		if f := bob.heldAgainst(honest); f.Count != 0 {
			t.Errorf("held against an honest one: %+v", f)
		}
		bob.restart()
		if f := bob.heldAgainst(liar); f.Count != strikesToBlame || f.Until.IsZero() {
			t.Errorf("forgotten by a restart: %+v", f)
		}
		if a, b := bob.conversation().members(); a == liar || b == liar {
			t.Error("a blamed member is still chosen before others")
		}
	})
}

// TestNobodyIsFramed: one member pushes what no other has, put there by a writer
// who asked no other. Nothing is held against anybody.
func TestNobodyIsFramed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, bob := newMorning(t)
		w := bob.conversation()
		framer, _ := w.members()
		loc, _, _, err := w.in.box(w.period)
		if err != nil {
			t.Fatal(err)
		}
		envelope := make([]byte, 4096)
		it := mailbox.Item{Digest: mailbox.EnvelopeDigest(loc.Address(), envelope), Expiry: uint64(s.now().Add(time.Hour).Unix()), Envelope: envelope}
		asked := map[identity.NodeID]bool{}
		s.mu.Lock()
		s.hook = func(node identity.NodeID, req mailbox.Request) error {
			if f, ok := req.(*mailbox.Fetch); ok && f.Address() == loc.Address() {
				asked[node] = true
			}
			return nil
		}
		s.members[framer].box(loc.Address()).add(it)
		s.mu.Unlock()
		bob.until("all others were asked for it", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(asked) == len(s.members)-1 && !asked[framer]
		})
		bob.until("it was looked for", func() bool { return !bob.witness.pending(it.Digest) })
		if f, err := bob.MemberFaults(t.Context()); err != nil || len(f) != 0 {
			t.Errorf("held against somebody: %+v, %v", f, err)
		}
	})
}

// leaveOut has the first member that is subscribed at bring what the second one
// and another were not told of, as its coordinator can. It returns the second
// one, and give, which hands it the envelope as reconciliation does.
func leaveOut(t *testing.T, s *fakeSwarm, bob *person) (first, second identity.NodeID, it mailbox.Item, give func()) {
	t.Helper()
	w := bob.conversation()
	first, second = w.members()
	loc, _, _, err := w.in.box(w.period)
	if err != nil {
		t.Fatal(err)
	}
	a, envelope := loc.Address(), make([]byte, 4096)
	it = mailbox.Item{Digest: mailbox.EnvelopeDigest(a, envelope), Expiry: uint64(s.now().Add(time.Hour).Unix()), Envelope: envelope}
	s.mu.Lock()
	defer s.mu.Unlock()
	have := 1
	for _, id := range s.order {
		if id != first && id != second && have < majority(len(s.order)) {
			have++
			s.members[id].box(a).add(it)
		}
	}
	s.members[first].box(a).add(it)
	return first, second, it, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.members[second].box(a).add(it)
	}
}

// asksAgain waits until an envelope is to be looked for a second time.
func (p *person) asksAgain(d mailbox.Digest) {
	p.t.Helper()
	p.until("it is to be looked for again", func() bool {
		p.witness.mu.Lock()
		defer p.witness.mu.Unlock()
		s := p.witness.sightings[d]
		return s != nil && s.again
	})
}

// TestLeftOutMemberIsNotBlamed: a coordinator does not propose to a member, which
// has the envelope from its peers later than it is first asked for it.
func TestLeftOutMemberIsNotBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, bob := newMorning(t)
		first, second, it, give := leaveOut(t, s, bob)
		bob.asksAgain(it.Digest)
		time.Sleep(memberBehind / 2)
		if !bob.witness.pending(it.Digest) {
			t.Error("it may be deleted before the member is asked again")
		}
		give()
		bob.until("it was looked for", func() bool { return !bob.witness.pending(it.Digest) })
		if f, err := bob.MemberFaults(t.Context()); err != nil || len(f) != 0 {
			t.Errorf("held against somebody: %+v, %v", f, err)
		}
		if a, b := bob.conversation().members(); a != first || b != second {
			t.Error("a subscription has moved")
		}
	})
}

// TestMemberThatStillLacksItIsBlamed, when it has had the time to catch up.
func TestMemberThatStillLacksItIsBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, bob := newMorning(t)
		first, second, it, _ := leaveOut(t, s, bob)
		bob.asksAgain(it.Digest)
		began := time.Now()
		bob.until("it is found out", func() bool { return bob.remembers(second, 1) })
		if d := time.Since(began); d < memberBehind/2 {
			t.Errorf("blamed %v after it was asked first", d)
		}
		if f := bob.heldAgainst(first); f.Count != 0 {
			t.Errorf("held against the one that brought it: %+v", f)
		}
	})
}

// TestSilentMemberIsLeft: a member neither pushes nor lets itself be asked.
func TestSilentMemberIsLeft(t *testing.T) {
	for name, silence := range map[string]func(s *fakeSwarm, mine func(identity.NodeID, mailbox.Request) bool){
		"refuses": func(s *fakeSwarm, mine func(identity.NodeID, mailbox.Request) bool) {
			s.hook = func(node identity.NodeID, req mailbox.Request) error {
				if mine(node, req) {
					return mailbox.ErrExpired // not what makes a member stand behind others
				}
				return nil
			}
		},
		"answers nothing": func(s *fakeSwarm, mine func(identity.NodeID, mailbox.Request) bool) { s.mute = mine },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, alice, bob := newMorning(t)
				liar, honest := bob.conversation().members()
				s.keepBack(liar)
				s.mu.Lock()
				silence(s, func(node identity.NodeID, req mailbox.Request) bool {
					_, fetch := req.(*mailbox.Fetch)
					return fetch && node == liar
				})
				s.mu.Unlock()
				alice.send(bob, "in spite of it")
				bob.until("it is read elsewhere", func() bool {
					a, b := bob.conversation().members()
					return a != liar && b != liar && (a == honest || b == honest)
				})
				if f, err := bob.MemberFaults(t.Context()); err != nil || len(f) != 0 {
					t.Errorf("held against somebody: %+v, %v", f, err)
				}
			})
		})
	}
}

// TestAuditFindsWhatBothKeepBack reads at a third member.
func TestAuditFindsWhatBothKeepBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		w := bob.conversation()
		first, second := w.members()
		s.keepBack(first, second)
		before := len(bob.texts(alice, false))
		alice.send(bob, "in spite of both")
		alice.until("it is stored", func() bool { return s.written(alice) > 0 })
		if n := len(bob.texts(alice, false)); n != before {
			t.Fatalf("%d messages came by themselves: the test looks at nothing", n-before)
		}
		bob.until("an audit finds it", func() bool {
			bob.audit(watchKey{w.in.id(), w.period})
			return len(bob.texts(alice, false)) > before
		})
		bob.until("both are found out", func() bool { return bob.heldAgainst(first).Count == 1 && bob.heldAgainst(second).Count == 1 })
	})
}

func TestStrikes(t *testing.T) {
	f := &blame{}
	day, apart := uint64(strikesFor/time.Second), uint64(strikeApart/time.Second)
	for i, step := range []struct {
		now             uint64
		counted, blamed bool
	}{
		{1000, true, false},
		{1000 + apart - 1, false, false}, // of the same trouble
		{1000 + apart, true, false},
		{1000 + day + 1, true, false},          // the first is forgotten
		{1000 + day + apart, false, false},     // too soon after the last
		{1000 + day + 2*apart, true, false},    // a day after the second
		{1000 + day + 3*apart + 1, true, true}, // three within a day
		{1000 + day + 5*apart, true, false},    // it is blamed already
	} {
		if counted, blamed := f.strike(step.now); counted != step.counted || blamed != step.blamed {
			t.Errorf("step %d: counted %v, blamed %v", i, counted, blamed)
		}
	}
}

func TestFaultsAreBoundedAndKept(t *testing.T) {
	w := newWitness()
	for i := range maxBlames + 10 {
		w.strikeLocked(keyPlace{mailbox.Address{byte(i), byte(i >> 8)}, identity.NodeID{byte(i), byte(i >> 8), 1}}, uint64(i)+100)
	}
	if len(w.faults) != maxFaults || len(w.blames) != maxBlames || w.blames[keyPlace{node: identity.NodeID{0, 0, 1}}] != nil {
		t.Errorf("%d and %d are kept", len(w.faults), len(w.blames))
	}
	other := newWitness()
	other.decode(w.encodeLocked())
	if !reflect.DeepEqual(other.faults, w.faults) || !reflect.DeepEqual(other.blames, w.blames) {
		t.Error("others came back")
	}
}

func FuzzFaults(f *testing.F) {
	w := newWitness()
	w.strikeLocked(keyPlace{mailbox.Address{1}, identity.NodeID{1}}, 500)
	f.Add(w.encodeLocked())
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWitness()
		w.decode(b)
		if len(w.faults) > maxFaults || len(w.blames) > maxBlames {
			t.Error("too many")
		}
		for _, x := range w.blames {
			if len(x.strikes) == 0 || len(x.strikes) > strikesToBlame {
				t.Error("a fault without a time")
			}
		}
	})
}
