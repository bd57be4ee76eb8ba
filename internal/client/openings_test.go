package client

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// Mailboxes to write to are opened one by one, with minutes between them, all
// within hours, and each for as long.
func TestMailboxesAreOpenedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people = 8
		w := newJoinWorld(t, joinScale{accounts: 1, periods: 1, swarms: 4, tick: 5 * time.Minute}, true, 5)
		stop := make(chan struct{})
		var hourly sync.WaitGroup
		hourly.Go(func() { w.rotate(stop) })
		defer hourly.Wait()
		defer close(stop)
		p := w.people[0]
		p.net.calm = true
		p.come()
		p.acquaint(people)
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		at := w.log.now()
		p.come()
		const hours = 4 * time.Hour
		ours := map[mailbox.Address]bool{}
		for _, ch := range p.c.allChannels() {
			// A mailbox whose period ends meanwhile need not be opened any more.
			box, err := ch.box(ch.period(w.swarm.now().Add(hours), true), true)
			if err != nil {
				t.Fatal(err)
			}
			ours[box.Locator.Address()] = true
		}
		opened := func(from int64) (boxes map[int32]bool) {
			boxes = map[int32]bool{}
			w.log.mu.Lock()
			defer w.log.mu.Unlock()
			for _, s := range w.log.sights {
				if s.Kind == sawOpen && s.At >= from && ours[w.log.locators[s.Box].Address()] {
					boxes[s.Box] = true
				}
			}
			return boxes
		}
		time.Sleep(10 * time.Second)
		if n := len(opened(at)); n > people/2 {
			t.Errorf("%d of %d were opened within ten seconds", n, people)
		}
		// Those of the next period are among them, each in its turn.
		time.Sleep(hours)
		if n := len(opened(0)); n != people {
			t.Errorf("%d of %d are open after hours", n, people)
		}
		w.log.mu.Lock()
		days := map[string]int{}
		for box, said := range w.log.words {
			if w.log.locators[box].Kind == mailbox.KindConversation {
				for word, n := range said[wordDays] {
					days[word] += n
				}
			}
		}
		w.log.mu.Unlock()
		if len(days) != 1 {
			t.Errorf("opened for these days: %v", days)
		}
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Openings that fail are tried again after pauses that grow, even by a client
// that leaves no time between those that succeed.
func TestOpeningsThatFailPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people = 3
		w := newJoinWorld(t, joinScale{accounts: 1, periods: 1, swarms: 4, tick: 5 * time.Minute}, false, 6)
		p := w.people[0]
		p.net.calm = true
		asked := 0
		w.swarm.hook = func(_ identity.NodeID, req mailbox.Request) error { // under the swarm's lock
			if o, ok := req.(*mailbox.Open); ok && o.Locator.Kind == mailbox.KindConversation {
				asked++
				return mailbox.ErrUnavailable
			}
			return nil
		}
		p.come()
		p.acquaint(people)
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		p.come()
		time.Sleep(5 * time.Minute)
		w.swarm.mu.Lock()
		n := asked
		w.swarm.mu.Unlock()
		if n == 0 || n > 1000 {
			t.Errorf("asked %d times in five minutes", n)
		}
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
