package swarm

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// visitor lets an exit's requests enter, work for a while and leave.
type visitor struct {
	g    *gate
	exit identity.NodeID
	wg   sync.WaitGroup

	mu      sync.Mutex
	in      int
	refused int
	longest time.Duration // that one waited and entered
}

func (v *visitor) visit(n int, work time.Duration) {
	for range n {
		v.wg.Go(func() {
			began := time.Now()
			leave, err := v.g.enter(context.Background(), v.exit, 6<<10)
			waited := time.Since(began)
			v.mu.Lock()
			if err != nil {
				v.refused++
			} else {
				v.in++
				v.longest = max(v.longest, waited)
			}
			v.mu.Unlock()
			if err == nil {
				time.Sleep(work)
				leave()
				leave()
			}
		})
	}
}

func exitNamed(n byte) identity.NodeID { return identity.NodeID{n} }

// empty checks that a gate nobody is in has all its places and remembers nobody.
func empty(t *testing.T, g *gate, places int) {
	t.Helper()
	if g.free != places || g.waiting != 0 || g.bytes != 0 || len(g.exits) != 0 {
		t.Errorf("an empty gate has %d places, %d waiting with %d bytes, %d exits", g.free, g.waiting, g.bytes, len(g.exits))
	}
}

// An exit that is alone gets all but the last quarter at once, and a burst of
// its clients is worked off.
func TestGateWorksOffABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(maxRequests)
		v := &visitor{g: g, exit: exitNamed(1)}
		v.visit(2*maxRequests, 20*time.Millisecond)
		synctest.Wait()
		if v.in != maxExitWork {
			t.Errorf("%d in work at once, want %d", v.in, maxExitWork)
		}
		v.wg.Wait()
		if v.refused != 0 {
			t.Errorf("%d of a burst were refused", v.refused)
		}
		empty(t, g, maxRequests)
	})
}

// Waiting for one's own exit tells nothing of how busy a member is.
func TestAFloodOfOneExitMakesNothingDear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(maxRequests)
		flood, honest := &visitor{g: g, exit: exitNamed(1)}, &visitor{g: g, exit: exitNamed(2)}
		for range 100 {
			flood.visit(2*maxRequests, 20*time.Millisecond)
			honest.visit(5, 10*time.Millisecond)
			time.Sleep(20 * time.Millisecond)
		}
		if _, delayed := g.load(); delayed != 0 {
			t.Errorf("%d count as delayed, with places free all the time", delayed)
		}
		everybody := &visitor{g: g, exit: exitNamed(3)}
		everybody.visit(maxRequests, 20*time.Millisecond)
		synctest.Wait()
		if _, delayed := g.load(); delayed == 0 {
			t.Error("a full member counts nobody as delayed")
		}
		for _, v := range []*visitor{flood, honest, everybody} {
			v.wg.Wait()
		}
		if honest.refused != 0 || honest.longest != 0 {
			t.Errorf("of the others %d were refused, and one waited %v", honest.refused, honest.longest)
		}
	})
}

// Whoever floods waits for itself: another exit's requests enter at their turn,
// and none of them is refused or waits long.
func TestGateIsFairAmongExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places, work, rounds = 64, 10 * time.Millisecond, 40
		g := newGate(places)
		flood := &visitor{g: g, exit: exitNamed(1)}
		honest := &visitor{g: g, exit: exitNamed(2)}
		for range rounds {
			flood.visit(4*places, work)
			honest.visit(places/4, work)
			time.Sleep(work)
		}
		flood.wg.Wait()
		honest.wg.Wait()
		if honest.refused != 0 || honest.longest > 2*work {
			t.Errorf("beside a flood %d of %d were refused, and one waited %v", honest.refused, honest.in, honest.longest)
		}
		if flood.refused == 0 || flood.in < rounds*places/2 {
			t.Errorf("of a flood %d entered, %d were refused", flood.in, flood.refused)
		}
		empty(t, g, places)
	})
}

// Under three times the load that it can carry a gate stays full of work, and
// what it lets in has not waited long.
func TestGateUnderOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(64)
		const work, rounds = 20 * time.Millisecond, 50
		exits := []*visitor{{g: g, exit: exitNamed(1)}, {g: g, exit: exitNamed(2)}, {g: g, exit: exitNamed(3)}}
		for range rounds {
			for _, v := range exits {
				v.visit(64, work)
			}
			time.Sleep(work)
		}
		in := 0
		for _, v := range exits {
			v.wg.Wait()
			in += v.in
			if v.longest > maxWait || v.in < 64*rounds/4 {
				t.Errorf("an exit had %d of %d, and one waited %v", v.in, 64*rounds, v.longest)
			}
		}
		if in < 64*rounds*9/10 {
			t.Errorf("%d entered where %d could", in, 64*rounds)
		}
		empty(t, g, 64)
	})
}

// A request that finds no place within its time is refused, also when none
// becomes free; so is one whose stream ends.
func TestGateRefusesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		leave, err := g.enter(context.Background(), exitNamed(1), 0)
		if err == nil {
			_, err = g.enter(context.Background(), exitNamed(1), maxWaitingBytes+1)
			if !errors.Is(err, mailbox.ErrBusy) {
				t.Errorf("more bytes than may wait: %v", err)
			}
			began := time.Now()
			_, err = g.enter(context.Background(), exitNamed(2), 0)
			if !errors.Is(err, mailbox.ErrBusy) || time.Since(began) != maxWait {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if _, err = g.enter(ctx, exitNamed(2), 0); !errors.Is(err, mailbox.ErrBusy) {
				t.Errorf("a stream that ended: %v", err)
			}
			leave()
		}
		empty(t, g, 1)
	})
}

// When too much waits, the one with the most loses its own.
func TestGateBoundsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		leave, err := g.enter(context.Background(), exitNamed(9), 0)
		if err != nil {
			t.Fatal(err)
		}
		flood, honest := &visitor{g: g, exit: exitNamed(1)}, &visitor{g: g, exit: exitNamed(2)}
		flood.visit(maxWaiting, 0)
		synctest.Wait()
		honest.visit(10, 0)
		synctest.Wait()
		if flood.refused != 10 || honest.refused != 0 || g.waiting != maxWaiting {
			t.Errorf("%d of the flood and %d others were refused, %d wait", flood.refused, honest.refused, g.waiting)
		}
		leave()
		flood.wg.Wait()
		honest.wg.Wait()
		empty(t, g, 1)
	})
}

// A flood at one mailbox leaves places for the others.
func TestCrowds(t *testing.T) {
	c := newCrowds()
	a, b := mailbox.Address{1}, mailbox.Address{2}
	for range maxBoxWork {
		if !c.enter(a) {
			t.Fatal("refused below the bound")
		}
	}
	if c.enter(a) || !c.enter(b) {
		t.Error("the bound is not one for each mailbox")
	}
	c.leave(a)
	if !c.enter(a) {
		t.Error("a place that was left is not given again")
	}
	for range maxBoxWork {
		c.leave(a)
	}
	if c.leave(b); len(c.inWork) != 0 {
		t.Errorf("%d mailboxes are remembered", len(c.inWork))
	}
}

// A member that has no place for a request says so without opening it, and the
// stream goes on; afterwards the same sealed request is as good as before.
func TestBusyMemberDoesNotOpen(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	g := w.nodes[0].swarm.gate
	var leaves []func()
	for i := range maxRequests {
		leave, err := g.enter(t.Context(), exitNamed(byte(i)), 0)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	frame, opener := c.seal(b.put(w, randomEnvelope(4096)), nil)
	c.write(frame)
	f, err := mailbox.ParseBusyReply(c.read())
	if err != nil || f.RetryAfter < retryAfter || f.RetryAfter > 2*retryAfter {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, leave := range leaves {
		leave()
	}
	c.write(frame)
	if _, err := result(opener.Open(c.read())); err != nil {
		t.Errorf("the same request later: %v", err)
	}
	empty(t, g, maxRequests)
}

// What is in work for one mailbox is bounded, and others are served.
func TestFloodAtOneMailbox(t *testing.T) {
	w := newWorld(t, 5)
	c, flooded, other := w.client(w.nodes[0]), newBox(w), newBox(w)
	c.open(flooded, 1<<20)
	c.open(other, 1<<20)
	crowds := w.nodes[0].swarm.crowds
	for range maxBoxWork {
		crowds.enter(flooded.Address())
	}
	if _, err := c.do(flooded.put(w, randomEnvelope(4096)), nil); !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("at the flooded mailbox: %v", err)
	}
	c.send(other, randomEnvelope(4096))
	for range maxBoxWork {
		crowds.leave(flooded.Address())
	}
	c.send(flooded, randomEnvelope(4096))
}
