package circuit_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/simnet"
)

// Somebody makes a client rebuild its circuits again and again: those for
// receiving show four middles, those for sending many.
func TestReceivingMiddlesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 30, nil, func(w *network, _ *simnet.Net) {
			c := w.newClient(nil)
			defer c.stop(t)
			receiving, others := make(map[string]int), make(map[string]int)
			for range 60 {
				c.until(t, "after a rebuild", ready(circuit.DefaultIdle))
				var streams []*circuit.Stream
				for lane := range uint8(2) {
					s, err := c.OpenStream(t.Context(), circuit.Isolation{Purpose: circuit.Receive, Lane: lane}, farFrom(t, w, c))
					if err != nil {
						t.Fatal(err)
					}
					receiving[pathOf(t, c, s).Middle.Operator]++
					streams = append(streams, s)
				}
				s, err := c.OpenStream(t.Context(), sending, farFrom(t, w, c))
				if err != nil {
					t.Fatal(err)
				}
				others[pathOf(t, c, s).Middle.Operator]++
				for _, s := range append(streams, s) {
					_ = s.Close()
				}
				c.NewPath()
			}
			if len(receiving) > 4 || len(others) < 15 {
				t.Errorf("middles of receiving circuits: %v; of others: %v", receiving, others)
			}
		})
	})
}

// A receiving circuit says that its time is up between 3 and 4 hours; a new one
// stands ready then, and the old one goes on until it is left.
func TestReceivingCircuitsAreReplacedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 12, nil, func(w *network, _ *simnet.Net) {
			var skipped atomic.Int64 // of the clock of ages
			pass := func(d time.Duration) {
				skipped.Add(int64(d))
				time.Sleep(20 * time.Second) // longer than between two looks at ages
			}
			c := w.newClient(func(cfg *circuit.Config) {
				cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skipped.Load())) }
			})
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			iso := circuit.Isolation{Purpose: circuit.Receive}
			old, err := c.OpenStream(t.Context(), iso, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			if err := echo(old, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			pass(3*time.Hour - time.Minute)
			select {
			case <-old.Retiring():
				t.Error("retired before 3 hours")
			default:
			}
			pass(time.Hour + time.Minute)
			select {
			case <-old.Retiring():
			default:
				t.Error("not retired after 4 hours")
			}
			next, err := c.OpenStream(t.Context(), iso, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			if next.Path() == old.Path() || pathOf(t, c, old).State != circuit.PathRetiring {
				t.Error("the old circuit took a new stream")
			}
			for _, s := range []*circuit.Stream{old, next} {
				if err := echo(s, []byte("on both")); err != nil {
					t.Error(err)
				}
			}
		})
	})
}
