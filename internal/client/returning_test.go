package client

import (
	"context"
	"crypto/rand"
	"flag"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

var returnTo = flag.Int("returning.contacts", 40, "contacts of the client that comes back in TestReturning")

const (
	awayFor = 10 * 24 * time.Hour
	// perPeriod is how many envelopes wait in each mailbox.
	perPeriod = 3
	// roundTrip is that of every circuit.
	roundTrip = 250 * time.Millisecond
)

// acquaint gives a person conversations with people who are not there, as first
// contacts would have made them.
func (p *joinPerson) acquaint(contacts int) {
	w, now := p.w, p.w.swarm.now()
	for range contacts {
		seed, err := identity.NewSeed(rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		peer := seed.Persona(0)
		conv, err := mailbox.NewConversation(rand.Reader, now)
		if err != nil {
			w.t.Fatal(err)
		}
		row := vault.Conversation{
			ID: conv.ID(), Peer: peer.ID().Root, Created: now.UnixMilli(), Initiator: true,
			Base: peer.Base().Public(), ReadPeriod: uint64(conv.Period(now, false)), Secret: conv.Encode(),
		}
		err = p.c.vault.Update(context.Background(), func(tx *vault.Tx) error {
			err := tx.SetContact(vault.Contact{ID: row.Peer, State: vault.ContactAccepted, Created: row.Created})
			if err != nil {
				return err
			}
			return tx.SetConversation(row)
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// fill leaves envelopes in every mailbox that the client has not read, and
// returns how many these are.
func (p *joinPerson) fill() (mailboxes, envelopes int) {
	now := p.w.swarm.now()
	for _, ch := range p.c.allChannels() {
		for period := ch.readPeriod(); period <= ch.period(now, false); period++ {
			box, err := ch.box(period, false)
			if err != nil {
				p.w.t.Fatal(err)
			}
			a := box.Locator.Address()
			mailboxes++
			for range perPeriod {
				envelopes++
				e := make([]byte, 4096)
				_, _ = rand.Read(e)
				p.w.swarm.leave(a, mailbox.Item{Digest: mailbox.EnvelopeDigest(a, e), Expiry: uint64(now.Add(24 * time.Hour).Unix()), Envelope: e})
			}
		}
	}
	return mailboxes, envelopes
}

// leave puts an item into a mailbox at all members, as if it had been there.
func (s *fakeSwarm) leave(a mailbox.Address, it mailbox.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.swarmLocked(a) {
		m.box(a).open = true
		m.box(a).add(it)
	}
}

// A client that was away for ten days reads all that waits in a bounded number
// of requests and within a minute, each mailbox on streams of its own.
func TestReturning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newJoinWorld(t, joinScale{accounts: 1, periods: 1, swarms: 10, tick: time.Minute}, true, 3)
		p := w.people[0]
		p.net.calm = true
		p.net.delay = roundTrip / 2
		p.come()
		p.acquaint(*returnTo)
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(awayFor)
		for _, id := range w.swarm.order {
			w.swarm.rotate(w.swarm.members[id])
		}
		began := time.Now()
		streams, sights := len(w.log.streams), len(w.log.sights)
		p.come()
		mailboxes, envelopes := p.fill()
		for int(p.c.unread.Load()) < envelopes && time.Since(began) < 10*time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Since(began)
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		fetches, of := 0, map[int32]int32{}
		for _, s := range w.log.sights[sights:] {
			if s.Kind == sawFetch {
				fetches++
			}
			if box, known := of[s.Stream]; s.Stream >= 0 && known && box != s.Box {
				t.Error("two mailboxes are asked about on one stream")
			}
			of[s.Stream] = s.Box
		}
		t.Logf("%d contacts, %d mailboxes, %d envelopes: read in %v with %d fetches, %d streams of all kinds", *returnTo, mailboxes, envelopes, took, fetches, len(w.log.streams)-streams)
		if got := int(p.c.unread.Load()); got != envelopes {
			t.Errorf("%d envelopes came, want %d", got, envelopes)
		}
		if took > time.Minute {
			t.Errorf("reading took %v", took)
		}
		// Old mailboxes at a majority of five, one page each; the front door too.
		old := mailboxes - *returnTo + 6
		if fetches > old*majority(5) {
			t.Errorf("%d fetches for %d old mailboxes", fetches, old)
		}
	})
}
