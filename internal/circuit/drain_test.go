package circuit_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/simnet"
)

// Whichever relay of a path drains, a transfer under way finishes, new streams
// take another path at once, nobody is blamed, and the relay is done before its
// time is over.
func TestDrainingRelay(t *testing.T) {
	for name, of := range map[string]func(circuit.PathInfo) circuit.Hop{
		"guard":  func(p circuit.PathInfo) circuit.Hop { return p.Guard },
		"middle": func(p circuit.PathInfo) circuit.Hop { return p.Middle },
		"exit":   func(p circuit.PathInfo) circuit.Hop { return p.Exit },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				simulated(t, 15, nil, func(w *network, _ *simnet.Net) { testDrain(t, w, of) })
			})
		})
	}
}

func testDrain(t *testing.T, w *network, of func(circuit.PathInfo) circuit.Hop) {
	c := w.newClient(nil)
	defer c.stop(t)
	c.until(t, "at the start", ready(circuit.DefaultIdle))
	target := farFrom(t, w, c)
	s, err := c.OpenStream(t.Context(), sending, target)
	if err != nil {
		t.Fatal(err)
	}
	if err := echo(s, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	c.until(t, "after a use", ready(circuit.DefaultIdle))
	hop := of(pathInUse(t, c))

	const size = 2 << 20
	written := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, size))
		written <- err
	}()
	begun := make([]byte, 1<<16)
	if _, err := io.ReadFull(s, begun); err != nil {
		t.Fatal(err)
	}
	r := w.relays[w.index(hop.ID)]
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	left := make(chan int, 1)
	go func() { left <- r.Drain(ctx) }()
	for e := range c.events {
		if e.Kind == circuit.EventRetired && strings.Contains(e.Text, hop.Operator) {
			break
		}
	}
	c.until(t, "retiring", func(paths []circuit.PathInfo) bool { return count(paths, circuit.PathRetiring) == 1 })

	if tries := sendUntil(t, c, sending, target); tries != 1 {
		t.Errorf("the next message took %d circuits", tries)
	}
	if now := pathInUse(t, c); of(now).ID == hop.ID {
		t.Error("a new path leads over the relay that drains")
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(s, size-int64(len(begun)))); err != nil || n != size-int64(len(begun)) {
		t.Fatalf("the transfer ended after %d bytes: %v", n, err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := <-left; n != 0 {
		t.Errorf("%d circuits left after %v", n, time.Since(start))
	}
	c.until(t, "afterwards", ready(circuit.DefaultIdle))
	for len(c.events) > 0 {
		if e := <-c.events; e.Kind == circuit.EventFailed {
			t.Errorf("a path failed: %s", e.Text)
		}
	}
}

// pathInUse returns the path that belongs to the test's isolation and takes
// streams.
func pathInUse(t *testing.T, c *client) circuit.PathInfo {
	t.Helper()
	for _, p := range c.Paths() {
		if p.State == circuit.PathInUse && p.Isolation == sending {
			return p
		}
	}
	t.Fatal("no circuit is in use")
	return circuit.PathInfo{}
}
