package circuit_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/simnet"
)

// sendUntil echoes over as many circuits as it takes, as a sender does: a
// circuit that dies is replaced. It returns how many streams it took.
func sendUntil(t *testing.T, c *client, iso circuit.Isolation, target identity.NodeID) int {
	t.Helper()
	for tries := 1; ; tries++ {
		s, err := c.OpenStream(t.Context(), iso, target)
		if err != nil {
			t.Fatalf("try %d: %v", tries, err)
		}
		_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
		err = echo(s, []byte("hello"))
		_ = s.Close()
		if err == nil {
			return tries
		}
		if !errors.Is(err, circuit.ErrDead) {
			t.Fatalf("try %d: %v, want a dead circuit", tries, err)
		}
	}
}

// guardInUse returns the guard of the circuit of iso.
func guardInUse(t *testing.T, c *client, iso circuit.Isolation) circuit.Hop {
	t.Helper()
	for _, p := range c.Paths() {
		if p.State == circuit.PathInUse && p.Isolation == iso {
			return p.Guard
		}
	}
	t.Fatal("no circuit is in use")
	return circuit.Hop{}
}

// farFrom returns a node that stands on no circuit of the client.
func farFrom(t *testing.T, w *network, c *client) identity.NodeID {
	t.Helper()
	on := make(map[identity.NodeID]bool)
	for _, p := range c.Paths() {
		on[p.Guard.ID], on[p.Middle.ID], on[p.Exit.ID] = true, true, true
	}
	for i := range w.local {
		if id := w.node(i).ID; !on[id] {
			return id
		}
	}
	t.Fatal("every node is on a path")
	return identity.NodeID{}
}

func TestDeadGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 15, nil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			target := farFrom(t, w, c)
			sendUntil(t, c, sending, target)
			guard := guardInUse(t, c, sending)
			c.until(t, "after a use", ready(circuit.DefaultIdle))

			n.SetDown(guard.Addr.Addr(), true)
			start := time.Now()
			tries := sendUntil(t, c, sending, target)
			took := time.Since(start)
			t.Logf("the next message took %v over %d circuits", took, tries)
			if took > 10*time.Second {
				t.Fatalf("the next message took %v", took)
			}
			if now := guardInUse(t, c, sending); now.ID == guard.ID {
				t.Fatal("the dead guard is still in use")
			}
			// All of them die with the link, and others take their place.
			c.until(t, "after the guard died", ready(circuit.DefaultIdle))
			for _, p := range c.Paths() {
				if p.Guard.ID == guard.ID {
					t.Fatalf("a path through the dead guard: %+v", p)
				}
			}
			// The first guard is preferred again once it answers.
			n.SetDown(guard.Addr.Addr(), false)
			c.until(t, "after the guard returned", func(paths []circuit.PathInfo) bool {
				back := 0
				for _, p := range paths {
					if p.State == circuit.PathReady && p.Guard.ID == guard.ID {
						back++
					}
				}
				return back == circuit.DefaultIdle-1
			})
		})
	})
}

func TestDeadMiddleAndExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 15, nil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			target := farFrom(t, w, c)
			for hop := range 2 {
				sendUntil(t, c, sending, target)
				for _, p := range c.Paths() {
					if p.State == circuit.PathInUse {
						n.SetDown([]circuit.Hop{p.Middle, p.Exit}[hop].Addr.Addr(), true)
					}
				}
				start := time.Now()
				sendUntil(t, c, sending, target)
				if took := time.Since(start); took > 10*time.Second {
					t.Fatalf("hop %d: the next message took %v", hop+1, took)
				}
			}
		})
	})
}

// Whatever bit a relay flips in whichever direction, the circuit dies at once
// and another one carries the message.
func TestFlippedBit(t *testing.T) {
	for name, flip := range map[string]func(*tamperer){
		"toward the client":    func(e *tamperer) { e.flip.Store(true) },
		"away from the client": func(e *tamperer) { e.back.Store(true) },
		"as RELAY_EARLY":       func(e *tamperer) { e.mark.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				evil := &tamperer{nodes: []int{0, 1, 2, 3, 4, 5, 6, 7}}
				simulated(t, 16, evil, func(w *network, n *simnet.Net) {
					c := w.newClient(func(cfg *circuit.Config) { cfg.Idle = 8 })
					defer c.stop(t)
					s, hop := throughTamperer(t, w, c, evil)
					flip(evil)
					_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
					start := time.Now()
					err := echo(s, []byte("flipped"))
					if !errors.Is(err, circuit.ErrDead) {
						t.Fatalf("hop %d flipped a bit: %v, want a dead circuit", hop, err)
					}
					t.Logf("hop %d flipped a bit: %v after %v", hop, err, time.Since(start))
					evil.flip.Store(false)
					evil.mark.Store(false)
					evil.back.Store(false)
					sendUntil(t, c, sending, s.Target())
				})
			})
		})
	}
}

// throughTamperer returns a stream that works and whose guard or middle is a
// tamperer, and that hop.
func throughTamperer(t *testing.T, w *network, c *client, evil *tamperer) (*circuit.Stream, int) {
	t.Helper()
	for persona := range uint32(30) {
		iso := circuit.Isolation{Persona: persona}
		for i := len(evil.nodes); i < len(w.local); i++ {
			s, err := c.OpenStream(t.Context(), iso, w.node(i).ID)
			if err != nil {
				t.Fatal(err)
			}
			p := pathOf(t, c, s)
			exit := w.index(p.Exit.ID)
			for hop, h := range []circuit.Hop{p.Guard, p.Middle} {
				if evil.is(w.index(h.ID)) && !evil.is(exit) {
					if err := echo(s, []byte("hello")); err != nil {
						t.Fatal(err)
					}
					return s, hop
				}
			}
			_ = s.Close()
		}
	}
	t.Fatal("no path through a tamperer")
	return nil, 0
}

// A hop that swallows everything is found by a probe while somebody waits.
func TestSilentHopIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		evil := &tamperer{nodes: []int{0, 1, 2, 3, 4, 5, 6, 7}}
		simulated(t, 16, evil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			s, _ := throughTamperer(t, w, c, evil)
			if err := s.Await(10 * time.Second); err == nil || errors.Is(err, circuit.ErrDead) {
				t.Fatalf("ten seconds without a word: %v, want a deadline", err)
			}
			if rtt := pathOf(t, c, s).RTT; rtt < 30*time.Millisecond || rtt > 100*time.Millisecond {
				t.Fatalf("round trip %v, want about 30 ms", rtt)
			}
			evil.mute.Store(true)
			start := time.Now()
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, circuit.ErrDead) {
				t.Fatalf("got %v, want a dead circuit", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Fatalf("found after %v", took)
			}
		})
	})
}

// A subscription may be silent for long: the probes that every circuit gets keep
// relays from ending it, and the stream lives.
func TestSubscriptionWaitsInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 8, nil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			iso := circuit.Isolation{Purpose: circuit.Receive}
			s, err := c.OpenStream(t.Context(), iso, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			got := make(chan error, 1)
			go func() {
				_, err := io.ReadFull(s, make([]byte, 4))
				got <- err
			}()
			time.Sleep(time.Hour)
			if _, err := s.Write([]byte("late")); err != nil {
				t.Fatal(err)
			}
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestCircuitsRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 8, nil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			old, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(old, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Minute)
			young, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(young, []byte("hello")); err != nil || young.Path() == old.Path() {
				t.Fatalf("a circuit takes new streams after 11 minutes (%v)", err)
			}
			if err := echo(old, []byte("still here")); err != nil {
				t.Fatalf("an old stream on a retiring circuit: %v", err)
			}
			_ = old.Close()
			time.Sleep(time.Minute)
			for _, p := range c.Paths() {
				if p.ID == old.Path() {
					t.Fatalf("a retired circuit without streams stands: %+v", p)
				}
			}
		})
	})
}

// A client whose own network was down for long finds its guards again, and the
// same ones.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 15, nil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			target := farFrom(t, w, c)
			sendUntil(t, c, sending, target)
			guard := guardInUse(t, c, sending)
			n.SetDown(clientAddr.Addr(), true)
			time.Sleep(10 * time.Minute)
			n.SetDown(clientAddr.Addr(), false)
			start := time.Now()
			sendUntil(t, c, sending, target)
			if took := time.Since(start); took > 15*time.Second {
				t.Fatalf("back after %v", took)
			}
			c.until(t, "after the outage", func(paths []circuit.PathInfo) bool {
				for _, p := range paths {
					if p.State == circuit.PathReady && p.Guard.ID == guard.ID {
						return true
					}
				}
				return false
			})
		})
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 8, nil, func(w *network, n *simnet.Net) {
			c := w.newClient(nil)
			s, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			// Two goroutines wait on the stream while the Manager closes.
			errs := make(chan error, 2)
			go func() { _, err := s.Read(make([]byte, 1)); errs <- err }()
			go func() { errs <- s.Await(time.Hour) }()
			synctest.Wait()
			c.stop(t)
			for range 2 {
				if err := <-errs; !errors.Is(err, circuit.ErrDead) || !errors.Is(err, circuit.ErrClosed) {
					t.Fatalf("got %v, want a dead circuit", err)
				}
			}
			if _, err := c.OpenStream(t.Context(), sending, w.node(0).ID); !errors.Is(err, circuit.ErrClosed) {
				t.Fatalf("got %v, want ErrClosed", err)
			}
			if paths := c.Paths(); len(paths) != 0 {
				t.Fatalf("paths after Close: %v", paths)
			}
		})
	})
}
