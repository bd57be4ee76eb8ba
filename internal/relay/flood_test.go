package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// dialFrom is dial from a socket at the address.
func (w *network) dialFrom(host netip.Addr, guard *node) *client {
	w.t.Helper()
	ep, err := link.NewEndpoint(w.socket(host), link.Config{})
	check(w.t, err)
	return w.dialWith(ep, guard)
}

// offered makes a CREATE for n with work of the given effort.
func offered(t testing.TB, n *node, effort uint8) []byte {
	t.Helper()
	_, create, err := onion.PaidHandshake(rand.Reader, n.ID, n.OnionKey, onion.ClassStream, nil, onion.Payment{Effort: effort, At: time.Now()})
	check(t, err)
	return create
}

// A link that asks for more circuits than its bucket holds is slowed down, then
// refused, then closed, and kept out for a while; what it costs is the bucket's.
func TestFloodOfCreates(t *testing.T) {
	inSim(t, 2, Limits{MaxClientCircuits: 1000}, func(t *testing.T, w *network) {
		guard := w.nodes[0]
		host := netip.MustParseAddr("203.0.113.5")
		c := w.dialFrom(host, guard)
		create := offered(t, guard, 0)
		start := time.Now()
		sent := 0
		for {
			if err := writeHandshake(c.ch, onion.CmdCreate, create); err != nil && !isReset(err) {
				break
			}
			sent++
			l, err := c.endpoint.Get(context.Background(), guard.Node)
			check(t, err)
			if c.ch, err = l.Open(context.Background()); err != nil {
				break
			}
		}
		took := time.Since(start)
		if sent < maxRefused {
			t.Fatalf("the link was closed after %d CREATEs", sent)
		}
		time.Sleep(maxTurn + 10*linkLatency) // those that waited have had their turn
		allowed := 60 + 10*(took+maxTurn).Seconds()
		if n := guard.metric(t, "handshakes_total", ""); n < 60 || n > allowed {
			t.Errorf("%v handshakes for %d CREATEs in %v, want 60 to %.0f", n, sent, took, allowed)
		}
		check(t, c.endpoint.Close())
		if w.answers(guard, host) {
			t.Error("whoever floods comes back at once")
		}
		if !w.answers(guard, netip.MustParseAddr("203.0.113.6")) {
			t.Error("its neighbour is kept out, too")
		}
		time.Sleep(floodPause)
		if !w.answers(guard, host) {
			t.Error("it is kept out for ever")
		}
	})
}

func isReset(err error) bool {
	var reset *link.ResetError
	return errors.As(err, &reset)
}

// answers reports whether n answers a CREATE from host.
func (w *network) answers(n *node, host netip.Addr) bool {
	w.t.Helper()
	c := w.dialFrom(host, n)
	defer c.close()
	if writeHandshake(c.ch, onion.CmdCreate, offered(w.t, n, 0)) != nil {
		return false
	}
	_, err := readHandshake(c.ch, onion.CmdCreated)
	return err == nil
}

// A client in a hurry is slowed down, and gets all of its circuits.
func TestHurriedClientIsSlowedDown(t *testing.T) {
	inSim(t, 2, Limits{ClientBurst: 5}, func(t *testing.T, w *network) {
		c := w.dial(w.nodes[0])
		defer c.close()
		start := time.Now()
		var channels []*link.Channel
		for range 12 {
			ch := openChannel(t, c.endpoint, w.nodes[0])
			check(t, writeHandshake(ch, onion.CmdCreate, offered(t, w.nodes[0], 0)))
			channels = append(channels, ch)
		}
		for i, ch := range channels {
			if _, err := readHandshake(ch, onion.CmdCreated); err != nil {
				t.Fatalf("circuit %d: %v", i, err)
			}
		}
		if took := time.Since(start); took < 600*time.Millisecond || took > time.Second {
			t.Errorf("12 circuits in %v, want 7 to wait 100 ms each", took)
		}
	})
}

// slowly makes each handshake take a while of virtual time.
type slowly time.Duration

func (d slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Duration(d))
	return rand.Read(p)
}

// When more CREATEs come than a relay can answer, those without work are refused
// as busy, and one with work is answered at once, through another relay as well.
func TestWorkGetsThrough(t *testing.T) {
	limits := Limits{MaxHandshakes: 1, MaxWaiting: 16, ClientRate: 1000, ClientBurst: 1000, NodeRate: 10_000, MaxClientCircuits: 1000}
	inSim(t, 3, limits, func(t *testing.T, w *network) {
		busy := w.nodes[1]
		busy.relay.cfg.Rand = slowly(20 * time.Millisecond) // 50 a second
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		flooded := make(chan struct{})
		create := offered(t, busy, 0)
		for i := range 3 {
			c := w.dialFrom(netip.AddrFrom4([4]byte{203, 0, byte(i), 1}), busy)
			go func() {
				defer func() { flooded <- struct{}{} }()
				defer c.close()
				for ctx.Err() == nil {
					// Whatever is refused, the flood goes on.
					if l, err := c.endpoint.Get(ctx, busy.Node); err == nil {
						if ch, err := l.Open(ctx); err == nil {
							_ = writeHandshake(ch, onion.CmdCreate, create)
						}
					}
					time.Sleep(5 * time.Millisecond) // 200 a second
				}
			}()
		}
		time.Sleep(time.Second)
		extend := func(effort uint8) (time.Duration, error) {
			c := w.circuit(w.nodes[0])
			defer c.close()
			start := time.Now()
			c.sendExtend(onion.Extend(busy.ID, offered(t, busy, effort)))
			for m := range c.events {
				if m.Command == onion.MsgExtended {
					return time.Since(start), nil
				}
			}
			return time.Since(start), c.err
		}
		// Which of them fall out of the queue is a matter of the moment.
		refused := 0
		for i := 0; i < 100 && refused < 5; i++ {
			if _, err := extend(0); err != nil {
				if why := reasonOf(err); why != onion.ReasonBusy {
					t.Errorf("without work: %v", why)
				}
				refused++
			}
		}
		if refused < 5 {
			t.Errorf("%d of 100 circuits without work were refused, of 50 a second where 600 are asked for", refused)
		}
		for range 10 {
			took, err := extend(6)
			if err != nil {
				t.Errorf("with work: %v", reasonOf(err))
			} else if took > 4*linkLatency+60*time.Millisecond {
				t.Errorf("with work: after %v", took)
			}
		}
		cancel()
		for range 3 {
			<-flooded
		}
	})
}

// Work that is not valid, of another time or used before is refused before any
// handshake; without load none is needed.
func TestWorkIsChecked(t *testing.T) {
	inSim(t, 2, Limits{}, func(t *testing.T, w *network) {
		guard := w.nodes[0]
		c := w.dial(guard)
		defer c.close()
		ask := func(create []byte) onion.Reason {
			ch := openChannel(t, c.endpoint, guard)
			check(t, writeHandshake(ch, onion.CmdCreate, create))
			_, err := readHandshake(ch, onion.CmdCreated)
			if err == nil {
				ch.Abort(0)
				return onion.ReasonDone
			}
			return reasonOf(err)
		}
		paid := offered(t, guard, 8)
		if why := ask(paid); why != onion.ReasonDone {
			t.Fatalf("valid work: %v", why)
		}
		before := guard.metric(t, "handshakes_total", "")
		if why := ask(paid); why != onion.ReasonRefused {
			t.Errorf("work used before: %v", why)
		}
		more := offered(t, guard, 8)
		more[2] = 40
		if why := ask(more); why != onion.ReasonRefused {
			t.Errorf("less work than it says: %v", why)
		}
		if why := ask(offered(t, w.nodes[1], 8)); why != onion.ReasonRefused {
			t.Errorf("work for another relay: %v", why)
		}
		stale := offered(t, guard, 8)
		time.Sleep(3 * onion.WorkSlot)
		if why := ask(stale); why != onion.ReasonRefused {
			t.Errorf("work of another time: %v", why)
		}
		if n := guard.metric(t, "handshakes_total", "") - before; n != 0 {
			t.Errorf("%v handshakes for what was to be refused", n)
		}
		if why := ask(offered(t, guard, 0)); why != onion.ReasonDone {
			t.Errorf("no work, no load: %v", why)
		}
	})
}

// A circuit on which nothing moves ends, one with a cell now and then does not,
// and so does a client's link without circuits.
func TestIdleEnds(t *testing.T) {
	inSim(t, 2, Limits{}, func(t *testing.T, w *network) {
		idle, live := w.circuit(w.nodes[0], w.nodes[1]), w.circuit(w.nodes[0], w.nodes[1])
		defer idle.close()
		defer live.close()
		start := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			for range idle.events {
			}
			ended <- time.Since(start)
		}()
		for len(ended) == 0 {
			time.Sleep(2 * time.Minute)
			live.send(onion.Probe([8]byte{1}))
			live.expect(onion.MsgProbeReply)
			synctest.Wait()
		}
		if after := <-ended; after < 10*time.Minute || after > 12*time.Minute {
			t.Errorf("an idle circuit ended after %v", after)
		}
		idle.expectEnd(onion.ReasonLimit)
		l, err := idle.endpoint.Get(context.Background(), w.nodes[0].Node)
		check(t, err)
		start = time.Now()
		<-l.Done()
		if after := time.Since(start); after > 6*time.Minute {
			t.Errorf("a link without circuits was closed after %v", after)
		}
		live.send(onion.Probe([8]byte{2}))
		live.expect(onion.MsgProbeReply)
	})
}
