package client

import (
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// reads returns the watch over the mailbox that a writer writes to.
func (p *person) reads(s *fakeSwarm, writer *person) (out *watch) {
	p.t.Helper()
	ch := writer.allChannels()[0]
	box, err := ch.box(ch.period(s.now(), true), true)
	if err != nil {
		p.t.Fatal(err)
	}
	p.until("both subscriptions stand", func() bool {
		p.witness.mu.Lock()
		defer p.witness.mu.Unlock()
		for _, w := range p.witness.watches {
			w.mu.Lock()
			if a, b := w.stands[0], w.stands[1]; a.stands() && b.stands() && a.box == box.Locator.Address() {
				out = w
			}
			w.mu.Unlock()
		}
		return out != nil
	})
	return out
}

// TestStalledComparisonHoldsUpNoOther: a member lets the question of one mailbox
// wait, and another's is compared meanwhile.
func TestStalledComparisonHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		carol := watcher(t, s, maxWait)
		befriend(carol, bob)
		bob.settled(s, alice)
		bob.settled(s, carol)
		one := bob.reads(s, alice)
		stalling, honest := one.members()
		keeping, other := bob.reads(s, carol).members()
		if keeping == honest || other == stalling {
			keeping = other // both brought by the honest one of the first
		}
		loc, _, _, err := one.in.box(one.period)
		if err != nil {
			t.Fatal(err)
		}
		reached, release := make(chan struct{}), make(chan struct{})
		s.keepBack(stalling, keeping)
		s.mu.Lock()
		s.stall = func(node identity.NodeID, req mailbox.Request) <-chan struct{} {
			f, ok := req.(*mailbox.Fetch)
			if !ok || node != stalling || f.Address() != loc.Address() {
				return nil
			}
			select {
			case <-reached:
			default:
				close(reached)
			}
			return release
		}
		s.mu.Unlock()
		alice.send(bob, "looked for in vain")
		<-reached
		carol.send(bob, "looked for meanwhile")
		bob.until("the other one is found out", func() bool { return bob.heldAgainst(keeping).Count == 1 })
		close(release)
	})
}

// TestComparisonsOfOneMailboxAreBounded, and take no place of another's.
func TestComparisonsOfOneMailboxAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, alice, bob := newMorning(t)
		in := bob.reads(s, alice).in
		w := newWitness()
		for p := range identity.Period(2) {
			sub := &subscription{node: identity.NodeID{2}, ended: make(chan struct{})}
			w.watches[watchKey{in.id(), p}] = &watch{stands: [replicas]*subscription{sub}}
			for i := range 2 * maxSightings {
				w.saw(bob.Client, arrival{in: in, period: p, node: identity.NodeID{1}}, mailbox.Digest{byte(p), byte(i)}, true)
			}
		}
		if n := len(w.sightings); n != 2*maxSightings {
			t.Errorf("%d are compared of two mailboxes", n)
		}
	})
}

// TestEachMailboxIsAuditedOften: as often as if it were the account's only one,
// at moments of its own, and no more once it is not watched.
func TestEachMailboxIsAuditedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const boxes = 200
		w := &watch{stands: [replicas]*subscription{}}
		c := &Client{swarms: swarms{members: &members{rand: rand.Reader}, witness: newWitness()}}
		var ended func()
		for i := range identity.Period(boxes) {
			ended = c.witness.watching(watchKey{period: i}, w)
		}
		began, last, most := time.Now(), map[identity.Period]time.Time{}, time.Duration(0)
		moments := map[time.Time]bool{}
		for time.Since(began) < identity.PeriodLength {
			key, left := c.nextAudit()
			if left != 0 {
				time.Sleep(left)
				continue
			}
			before, known := last[key.period]
			if !known {
				before = began
			}
			most = max(most, time.Since(before))
			last[key.period] = time.Now()
			moments[time.Now()] = true
		}
		if len(last) != boxes || most > auditEvery*3/2 {
			t.Errorf("%d of %d mailboxes audited, one after %v", len(last), boxes, most)
		}
		if len(moments) < 5*boxes {
			t.Errorf("audits at %d moments", len(moments))
		}
		ended()
		if _, ok := c.witness.audits[watchKey{period: boxes - 1}]; ok {
			t.Error("audited though it is watched no more")
		}
	})
}
