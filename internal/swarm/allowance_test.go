package swarm

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestAllowance: who brings much keeps it going, and who brings a record now and
// then, or began well and stalls, ends it when silence would have.
func TestAllowance(t *testing.T) {
	for name, tc := range map[string]struct {
		every time.Duration
		bytes int
		least time.Duration
		most  time.Duration
	}{
		"nothing":               {time.Hour, 0, roundIdle, roundIdle},
		"a record now and then": {roundIdle - time.Second, 4096, roundIdle, roundIdle + time.Second},
		"many small ones":       {10 * time.Millisecond, 500, time.Minute, time.Minute},
		"a slow line":           {time.Second, 200 << 10, time.Minute, time.Minute},
		"too slow a line":       {time.Second, 60 << 10, roundIdle, 2 * roundIdle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, began := make(chan struct{}), time.Now()
				p := newAllowance(roundIdle, func() { close(ended) })
				defer p.stop()
				tick := time.NewTicker(tc.every)
				defer tick.Stop()
				stop := time.NewTimer(time.Minute)
				for on := true; on; {
					select {
					case <-tick.C:
						p.brought(tc.bytes)
					case <-ended:
						on = false
					case <-stop.C:
						on = false
					}
				}
				if d := time.Since(began); d < tc.least || d > tc.most {
					t.Errorf("it lasted %v", d)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a good beginning is no store for later
		ended := make(chan struct{})
		p := newAllowance(roundIdle, func() { close(ended) })
		defer p.stop()
		for range 1000 {
			p.brought(1 << 20)
		}
		began := time.Now()
		<-ended
		if d := time.Since(began); d != roundIdle {
			t.Errorf("it lasted %v after the last record", d)
		}
	})
}
