package client

import (
	"reflect"
	"testing"
	"testing/synctest"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// TestMarkingMembersJoinNothing: every member gives each stream that asks a
// request key of its own, and notes which mailboxes are named under which key.
func TestMarkingMembersJoinNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 10)
		s.mu.Lock()
		s.marking = true
		s.mu.Unlock()
		alice, bob, carol := newPerson(t, s), newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		befriend(alice, carol)
		for _, p := range []*person{bob, carol} {
			alice.reached(alice.send(p, "again"), MessageDelivered)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		used := 0
		for _, boxes := range s.marks {
			used++
			if len(boxes) > 1 {
				t.Errorf("one key was used for %d mailboxes", len(boxes))
			}
		}
		if used < 10 {
			t.Fatalf("only %d keys were used: the test looks at nothing", used)
		}
	})
}

// TestMisbehaviourShowsAtOneMailbox: a member that shows many keys for one
// mailbox, keeps messages of it back, or fails there is asked last for that one.
// At the others it sees nothing of it.
func TestMisbehaviourShowsAtOneMailbox(t *testing.T) {
	for name, do := range map[string]func(c *Client, s *fakeSwarm, at keyPlace){
		"many keys": func(c *Client, s *fakeSwarm, at keyPlace) {
			for range keysAnHour + 1 {
				s.rotate(s.members[at.node])
				c.keys.put(at, s.members[at.node].req.Cert(), s.now())
			}
		},
		"keeps back": func(c *Client, s *fakeSwarm, at keyPlace) {
			c.witness.mu.Lock()
			defer c.witness.mu.Unlock()
			for i := range uint64(strikesToBlame) {
				c.witness.strikeLocked(at, uint64(s.now().Unix())-600+120*i)
			}
		},
		"busy":   func(c *Client, _ *fakeSwarm, at keyPlace) { c.report(c.ctx, at, mailbox.Refuse(mailbox.ErrBusy)) },
		"silent": func(c *Client, _ *fakeSwarm, at keyPlace) { c.report(c.ctx, at, errCut) },
		"slow": func(c *Client, s *fakeSwarm, at keyPlace) {
			n, _ := s.dir.Node(at.node)
			c.slow(at.box, []directory.Node{n})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSwarm(t, 5)
				c := newPerson(t, s).Client
				at := keyPlace{mailbox.Address{1}, s.order[0]}
				var before [100][]directory.Node
				for i := range before {
					before[i] = c.order(mailbox.Address{2, byte(i)})
				}
				do(c, s, at)
				if nodes := c.order(at.box); nodes[len(nodes)-1].ID != at.node {
					t.Error("it is not asked last where it was")
				}
				for i := range before {
					if !reflect.DeepEqual(c.order(mailbox.Address{2, byte(i)}), before[i]) {
						t.Fatal("it shows at another mailbox")
					}
				}
			})
		})
	}
}

func TestFailuresInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPerson(t, newFakeSwarm(t, 5)).Client
		for i := range 2 * maxFailed {
			c.avoid(keyPlace{box: mailbox.Address{byte(i), byte(i >> 8)}})
		}
		c.fmu.Lock()
		defer c.fmu.Unlock()
		if len(c.failed) > maxFailed {
			t.Fatalf("%d are kept", len(c.failed))
		}
	})
}

func TestKeysInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		keys := newRequestKeys()
		node, now := s.order[0], s.now()
		for i := range 2 * maxCerts {
			keys.put(keyPlace{node: node, box: mailbox.Address{byte(i), byte(i >> 8)}}, s.members[node].req.Cert(), now)
		}
		if len(keys.certs) > maxCerts || len(keys.seen) > maxCerts {
			t.Fatalf("%d certificates, keys of %d seen", len(keys.certs), len(keys.seen))
		}
	})
}

func TestPriceIsTheMembersMedian(t *testing.T) {
	const usual = mailbox.DefaultWorkBits
	for name, tc := range map[string]struct {
		bits []uint8 // of the members; 0 is down
		want uint8   // 0: no price is paid
	}{
		"all the same":          {[]uint8{usual, usual, usual, usual, usual}, usual},
		"two dear ones":         {[]uint8{30, usual, usual, usual, 30}, usual},
		"two cheap ones":        {[]uint8{usual, 1, 1, usual, usual}, usual},
		"one down, one dear":    {[]uint8{0, usual, 30, usual, usual}, usual},
		"dearer for all":        {[]uint8{25, 25, 25, 25, 25}, 25},
		"one answers":           {[]uint8{0, 0, 0, 0, usual}, usual},
		"one answers, dear":     {[]uint8{0, 0, 0, 0, fewBits + 1}, 0},
		"two answer, one dear":  {[]uint8{30, 0, 0, 0, usual}, usual},
		"nobody answers":        {make([]uint8, 5), 0},
		"two answer, both dear": {[]uint8{30, 0, 0, 0, 30}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSwarm(t, 5)
				alice := newPerson(t, s)
				for i, id := range s.order {
					s.mu.Lock()
					s.members[id].bits = tc.bits[i]
					s.mu.Unlock()
					s.setDown(id, tc.bits[i] == 0)
				}
				loc := mailbox.Locator{Kind: mailbox.KindConversation, Period: 1, Owner: alice.root}
				got, err := alice.price(background(t), target{route: route{iso: sendUse(0)}, loc: loc})
				if (err != nil) != (tc.want == 0) || err == nil && got.Bits != tc.want {
					t.Fatalf("%d bits, %v; want %d", got.Bits, err, tc.want)
				}
			})
		})
	}
}

// TestPricesAreAskedForEachMailbox: quotes are stored with what they pay for.
func TestPricesAreAskedForEachMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice := newPerson(t, s)
		// What the client asks for by itself has other circuits.
		way := route{iso: sendUse(7)}
		count := func() (asked int) {
			for _, a := range alice.net.opened(circuit.Send) {
				if a.iso == way.iso {
					asked++
				}
			}
			return asked
		}
		for i, first := range []bool{true, false, true} {
			before := count()
			loc := mailbox.Locator{Kind: mailbox.KindConversation, Period: uint64(1 + i/2)}
			if _, err := alice.price(background(t), target{route: way, loc: loc}); err != nil {
				t.Fatal(err)
			}
			if (count() > before) != first {
				t.Errorf("request %d: the members were asked %d times", i, count()-before)
			}
		}
	})
}

// TestExpiriesAreWholeHours: to the second they would show whose clock it was.
func TestExpiriesAreWholeHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		s.mu.Lock()
		odd := 0
		s.hook = func(_ identity.NodeID, req mailbox.Request) error {
			var at uint64
			switch r := req.(type) {
			case *mailbox.Put:
				at = r.Expiry
			case *mailbox.Delete:
				at = r.Expiry
			}
			if at%3600 != 0 {
				odd++
			}
			return nil
		}
		s.mu.Unlock()
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		for _, p := range []*person{alice, bob} {
			if err := p.Flush(background(t)); err != nil {
				t.Fatal(err)
			}
		}
		bob.until("everything is deleted from the swarm", func() bool { return s.stored(0) == cards(alice, bob) })
		s.mu.Lock()
		defer s.mu.Unlock()
		if odd > 0 {
			t.Fatalf("%d expiries that are no whole hours", odd)
		}
	})
}
