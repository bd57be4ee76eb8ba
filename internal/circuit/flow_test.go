package circuit_test

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/onion"
	"sotto/internal/simnet"
)

// overLinks runs a test in virtual time with the given one-way delay.
func overLinks(t *testing.T, delay time.Duration, test func(*testing.T, *network, *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(simnet.Config{Latency: delay})
		defer n.Close()
		w := startNetwork(t, 8, 4433, n.PacketConn, nil)
		defer w.stop()
		c := w.newClient(nil)
		defer c.stop(t)
		c.until(t, "at the start", ready(circuit.DefaultIdle))
		test(t, w, c)
	})
}

// both sends p and reads as much back at the same time.
func both(s *circuit.Stream, size int) error {
	var wg sync.WaitGroup
	var sent error
	wg.Go(func() { _, sent = s.Write(make([]byte, size)) })
	_, err := io.CopyN(io.Discard, s, int64(size))
	wg.Wait()
	return errors.Join(sent, err)
}

// Over three links of 40 ms without loss, a circuit carries what the largest
// window allows, in both directions at once.
func TestLongLinksAreFilled(t *testing.T) {
	const delay, size = 40 * time.Millisecond, 4 << 20
	overLinks(t, delay, func(t *testing.T, w *network, c *client) {
		s, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := both(s, size); err != nil {
			t.Fatal(err)
		}
		t.Logf("4 MiB took %v at first", time.Since(start))
		fullSpeed(t, s, size, delay)
	})
}

// fullSpeed checks that size bytes come back as fast as the largest window
// allows over three links.
func fullSpeed(t *testing.T, s *circuit.Stream, size int, delay time.Duration) {
	t.Helper()
	start := time.Now()
	if err := both(s, size); err != nil {
		t.Fatal(err)
	}
	// The first bytes are back after a round trip, the rest at the rate of a
	// full window each round trip.
	rtt := 6 * delay
	allowed := rtt + time.Duration(size)*rtt/(onion.MaxWindow*onion.MaxData)
	took := time.Since(start)
	t.Logf("%d bytes took %v, the window allows %v", size, took, allowed)
	if took > allowed*11/10 {
		t.Errorf("%d bytes took %v, the window allows %v", size, took, allowed)
	}
}

// A stream that nobody reads, neither here nor at its service, is stopped by
// its own windows in both directions, and others of its circuit are as fast as
// without it.
func TestUnreadStreamHoldsUpNoOther(t *testing.T) {
	const delay, size = 40 * time.Millisecond, 4 << 20
	overLinks(t, delay, func(t *testing.T, w *network, c *client) {
		var slow, fast *circuit.Stream
		for _, s := range []**circuit.Stream{&slow, &fast} {
			var err error
			if *s, err = c.OpenStream(t.Context(), sending, w.node(0).ID); err != nil {
				t.Fatal(err)
			}
		}
		if slow.Path() != fast.Path() {
			t.Fatal("the streams are on two circuits")
		}
		// The echo is not read, so that its service stops reading in turn.
		_ = slow.SetWriteDeadline(time.Now().Add(10 * time.Second))
		n, err := slow.Write(make([]byte, 16<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d bytes went out although nobody reads the echo: %v", n, err)
		}
		if n < 2*onion.StreamWindow {
			t.Errorf("only %d bytes left before the stream stopped, its windows are 2 times %d", n, onion.StreamWindow)
		}
		if err := both(fast, size); err != nil { // slow start
			t.Fatal(err)
		}
		fullSpeed(t, fast, size, delay)
		// What was held up comes once it is read.
		if _, err := io.CopyN(io.Discard, slow, int64(n)); err != nil {
			t.Fatal(err)
		}
	})
}
