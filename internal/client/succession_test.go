package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
)

// sign returns a document of the fake network, and the directory of it.
func (s *fakeSwarm) sign(t testing.TB, doc directory.Document) *directory.Directory {
	t.Helper()
	n, err := directory.SignDocument(s.key, doc)
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// grow lets five nodes join, so that a swarm is created that keeps an address
// from then on. Its members have what the others had, and all streams end.
func (s *fakeSwarm) grow(t testing.TB, a mailbox.Address) {
	t.Helper()
	var change directory.Change
	for range 5 {
		l, err := directory.NewLocalNode(rand.Reader, len(s.order)+1, 1)
		if err != nil {
			t.Fatal(err)
		}
		s.add(l)
		change.Join = append(change.Join, l.Node)
	}
	for range 1000 { // the new swarm's place is drawn: here, until it is this
		plan, err := s.dir.Plan(rand.Reader, time.Now(), change)
		if err != nil {
			t.Fatal(err)
		}
		if d := s.sign(t, plan.Document); len(plan.Created) == 1 && d.SwarmIDOf(a) == plan.Created[0] {
			s.moveTo(d)
			return
		}
	}
	t.Fatal("no new swarm for the address")
}

func (s *fakeSwarm) moveTo(d *directory.Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.dir
	s.dir = d
	for _, m := range s.members {
		for a, b := range m.boxes {
			if !from.InSwarmOf(m.id, a) {
				continue
			}
			for _, n := range d.SwarmOf(a) {
				if to := s.members[n.ID].box(a); to != b {
					to.open = to.open || b.open
					for _, it := range b.items {
						to.add(it)
					}
				}
			}
		}
	}
	for _, m := range s.members {
		for c := range m.conns {
			c.Close()
		}
		m.conns = map[net.Conn]bool{}
	}
}

func (p *person) serial() uint64 { return p.dir.Current().Serial() }

// Writer and reader have an old directory when the mailbox between them moves
// to a swarm that they have never heard of: both are sent on, with proof.
func TestOldDirectoryIsSentOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 10)
		alice, bob := newPerson(t, s), newPerson(t, s)
		alice.send(bob, "one")
		bob.has(alice, "one")
		bob.send(alice, "two")
		alice.has(bob, "two")
		alice.send(bob, "three")
		bob.has(alice, "one", "three")
		ch := alice.allChannels()[0]
		box, err := ch.box(ch.period(s.now(), true), true)
		if err != nil {
			t.Fatal(err)
		}
		s.grow(t, box.Locator.Address())
		m := alice.send(bob, "four")
		alice.reached(m, MessageStored, MessageDelivered, MessageRead)
		bob.has(alice, "one", "three", "four")
		bob.send(alice, "five")
		alice.has(bob, "two", "five")
		if alice.serial() != 1 || bob.serial() != 1 {
			t.Fatalf("serials %d and %d, want 1", alice.serial(), bob.serial())
		}
		// It lasts, though the profile is opened with the first file again.
		bob.restart()
		if bob.serial() != 1 {
			t.Fatalf("serial %d after a restart", bob.serial())
		}
		alice.send(bob, "six")
		bob.has(alice, "one", "three", "four", "six")
	})
}

// A member that replaced another signs receipts that the old directory does not
// count: the writer asks, and does not wait for ever.
func TestReceiptsOfNewMembersCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		alice.send(bob, "one")
		bob.has(alice, "one")
		var change directory.Change
		for i := range 3 {
			l, err := directory.NewLocalNode(rand.Reader, 6+i, 1)
			if err != nil {
				t.Fatal(err)
			}
			s.add(l)
			change.Join = append(change.Join, l.Node)
			change.Leave = append(change.Leave, s.order[i])
		}
		plan, err := s.dir.Plan(rand.Reader, time.Now(), change)
		if err != nil {
			t.Fatal(err)
		}
		s.moveTo(s.sign(t, plan.Document))
		m := alice.send(bob, "two")
		alice.reached(m, MessageStored, MessageDelivered, MessageRead)
		bob.has(alice, "one", "two")
		if alice.serial() != 1 {
			t.Fatalf("serial %d", alice.serial())
		}
	})
}

// Whatever a node sends: no other network, nothing older, nothing unsigned, and
// of two documents with one serial the one that was there first.
func TestNodesAreNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 6)
		p := newPerson(t, s)
		ask := func(answer []byte) error {
			s.mu.Lock()
			s.answer = func() []byte { return answer }
			s.mu.Unlock()
			ctx := background(t)
			var node identity.NodeID
			for id := range s.members {
				node = id
			}
			return p.succession.ask(ctx, p.members, target{route: route{iso: sendUse(0)}}, node)
		}
		doc := s.dir.Network().Document
		next := func(serial uint64) directory.Document {
			d := doc
			d.Serial, d.Issued = serial, doc.Created.Add(time.Duration(serial)*time.Minute)
			return d
		}
		if err := ask(s.sign(t, next(2)).Signed()); err != nil || p.serial() != 2 {
			t.Fatalf("a newer one: %v, at serial %d", err, p.serial())
		}
		if err := ask(s.sign(t, next(1)).Signed()); err != nil || p.serial() != 2 {
			t.Fatalf("an older one: %v, at serial %d", err, p.serial())
		}
		if err := ask(nil); err != nil {
			t.Fatalf("nothing: %v", err)
		}
		honest := s.key
		other, err := suite.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.key = other
		if err := ask(s.sign(t, next(3)).Signed()); !errors.Is(err, directory.ErrSignature) {
			t.Errorf("another key's: %v", err)
		}
		s.key = honest
		renamed := next(3)
		renamed.Name = "another"
		if err := ask(s.sign(t, renamed).Signed()); !errors.Is(err, directory.ErrOther) {
			t.Errorf("another network's: %v", err)
		}
		if err := ask([]byte("rubbish")); !errors.Is(err, directory.ErrInvalid) {
			t.Errorf("rubbish: %v", err)
		}
		fork := next(2)
		fork.Nodes = append([]directory.Node(nil), doc.Nodes...)
		fork.Nodes[0].Operator = "mallory"
		if err := ask(s.sign(t, fork).Signed()); !errors.Is(err, directory.ErrForked) {
			t.Errorf("a fork: %v", err)
		}
		if p.serial() != 2 {
			t.Errorf("at serial %d", p.serial())
		}
		p.until("the user is told of the fork", func() bool { return p.Connection().Text == textForked })
	})
}

// The question goes to a node over a circuit of its own, and no request key of it
// is kept.
func TestAskingAnyone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 6)
		p := newPerson(t, s)
		doc := s.dir.Network().Document
		doc.Serial, doc.Issued = 1, doc.Created
		d := s.sign(t, doc)
		s.mu.Lock()
		s.dir = d
		s.mu.Unlock()
		if err := p.askAnyone(context.Background()); err != nil || p.serial() != 1 {
			t.Fatalf("serial %d, %v", p.serial(), err)
		}
		if askUse(p.number) == sendUse(p.number) || len(p.net.questions()) == 0 {
			t.Error("it went over the circuits for mailboxes")
		}
		p.keys.mu.Lock()
		defer p.keys.mu.Unlock()
		for at := range p.keys.certs {
			if at.box == (mailbox.Address{}) {
				t.Error("a request key of a question is kept")
			}
		}
	})
}

// A file of another network is refused for a profile that has one.
func TestProfileStaysWithItsNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPerson(t, newFakeSwarm(t, 5))
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		p.cfg.Network = newFakeSwarm(t, 5).network
		app, err := OpenProfile(p.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer app.Close()
		if err := app.Unlock(background(t), passphrase); !errors.Is(err, ErrNoNetwork) || !errors.Is(err, directory.ErrOther) {
			t.Fatalf("got %v", err)
		}
	})
}

// questions returns the streams on which a directory was asked for.
func (n *fakeNetwork) questions() (out []asked) {
	for _, a := range n.opened(circuit.Send) {
		if a.iso.Lane == askUse(0).Lane {
			out = append(out, a)
		}
	}
	return out
}

// refuser is a person whose client has asked for the first time, and a member
// that refuses what is put to conversations.
func refuser(t *testing.T, s *fakeSwarm) (p *person, refuse func(box byte)) {
	t.Helper()
	node := s.order[0]
	s.mu.Lock()
	s.hook = func(id identity.NodeID, r mailbox.Request) error {
		if p, ok := r.(*mailbox.Put); ok && id == node && p.Kind == mailbox.KindConversation {
			return mailbox.ErrWrongSwarm
		}
		return nil
	}
	s.mu.Unlock()
	p = newPerson(t, s)
	time.Sleep(directoryFirst + directoryHurry)
	return p, func(box byte) {
		loc := mailbox.Locator{Kind: mailbox.KindConversation, Period: 1, Owner: [32]byte{box}}
		before := time.Now()
		_, err := p.call(background(t), target{route: route{iso: sendUse(p.number)}, loc: loc}, node, fixed(&mailbox.Put{Locator: loc, Envelope: make([]byte, mailbox.FirstClass)}))
		if !errors.Is(err, mailbox.ErrWrongSwarm) || time.Since(before) > 0 {
			t.Fatalf("refused after %v: %v", time.Since(before), err)
		}
	}
}

// A member that refuses requests for two mailboxes is not asked for it, and
// nothing tells from the questions whether they are one client's: there is one
// for one mailbox as for many, of a node drawn at random, some time later.
func TestQuestionsJoinNoMailboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 10)
		p, refuse := refuser(t, s)
		const rounds = 12
		who := map[identity.NodeID]bool{}
		for i := range rounds {
			before, begun := len(p.net.questions()), time.Now()
			for box := range byte(1 + i%2*3) {
				for range 3 {
					refuse(box)
				}
			}
			time.Sleep(directoryHurry + 2*time.Second)
			asked := p.net.questions()[before:]
			if len(asked) != 1 {
				t.Fatalf("round %d: %d questions", i, len(asked))
			}
			if after := asked[0].at.Sub(begun); after < directoryMoment {
				t.Errorf("a question %v after a refusal", after)
			}
			who[asked[0].node] = true
		}
		if len(who) < 2 {
			t.Error("all questions went to one node")
		}
	})
}

// One that refuses everything, all the time, makes us ask less and less, and
// delays by minutes at most when there is something newer.
func TestQuestionsInVainBecomeSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 10)
		p, refuse := refuser(t, s)
		begun, before := time.Now(), len(p.net.questions())
		refuse(1)
		for len(p.net.questions()) == before {
			time.Sleep(time.Second)
			refuse(1)
		}
		if took := time.Since(begun); took > directorySoon+time.Second {
			t.Errorf("the first question came after %v", took)
		}
		// Doubled thrice, to two minutes: 1 to 120 s and up to ten each, an hour has
		// 55 of them in the mean, and 90 about never.
		time.Sleep(10 * time.Minute)
		before = len(p.net.questions())
		for i := range 360 {
			if i%60 == 0 {
				s.advance(0) // request keys end
			}
			time.Sleep(10 * time.Second)
			refuse(1)
		}
		if n := len(p.net.questions()) - before; n < 25 || n > 90 {
			t.Errorf("%d questions in an hour", n)
		}
		doc := s.dir.Network().Document
		doc.Serial, doc.Issued = 1, doc.Created
		d := s.sign(t, doc)
		s.mu.Lock()
		s.dir = d
		s.mu.Unlock()
		s.advance(0)
		begun = time.Now()
		for p.serial() == 0 && time.Since(begun) < time.Hour {
			time.Sleep(10 * time.Second)
			refuse(1)
		}
		if took := time.Since(begun); took > 2*directoryHurry {
			t.Errorf("sent on after %v", took)
		}
	})
}
