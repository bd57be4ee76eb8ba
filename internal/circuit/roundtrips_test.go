package circuit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/simnet"
)

// linkDelay is the one-way delay of the links that times are measured over.
const linkDelay = 40 * time.Millisecond

// Building takes a round trip of the first link, two for the middle and three
// for the exit: six, and a tenth more for what is no waiting. A circuit over
// cold links also waits for their handshakes.
func TestBuildingTakesSixRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(simnet.Config{Latency: linkDelay})
		defer n.Close()
		w := startNetwork(t, 8, 4433, n.PacketConn, nil)
		defer w.stop()
		started := time.Now()
		c := w.newClient(nil)
		defer c.stop(t)
		c.until(t, "at the start", ready(circuit.DefaultIdle))
		cold := built(c, started)
		w.connectAll(t)
		const roundTrip = 2 * linkDelay
		for range 5 {
			started = time.Now()
			c.NewPath()
			c.until(t, "after a new path", func(p []circuit.PathInfo) bool {
				return ready(circuit.DefaultIdle)(p) && !p[0].BuiltAt.Before(started)
			})
			for _, took := range built(c, started) {
				if took > 6*roundTrip*11/10 || took < 6*roundTrip {
					t.Errorf("a circuit over warm links stood after %v, %.2f round trips", took, took.Seconds()/roundTrip.Seconds())
				}
			}
		}
		warm := built(c, started)
		t.Logf("round trips of a link until a circuit stands: warm %.2f, cold %.2f",
			median(warm).Seconds()/roundTrip.Seconds(), median(cold).Seconds()/roundTrip.Seconds())
	})
}

// built returns how long after started each circuit stood.
func built(c *client, started time.Time) (took []time.Duration) {
	for _, p := range c.Paths() {
		took = append(took, p.BuiltAt.Sub(started))
	}
	return took
}

// connectAll makes a link from each node to each other.
func (w *network) connectAll(t *testing.T) {
	t.Helper()
	for i, e := range w.ends {
		for j := range w.ends {
			if i == j {
				continue
			}
			if _, err := e.Get(t.Context(), w.node(j)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
