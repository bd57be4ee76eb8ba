package circuit

import (
	"testing"
	"time"
)

func paced(trips ...time.Duration) *pace {
	p := &pace{}
	for _, d := range trips {
		p.add(d)
	}
	return p
}

func repeat(n int, d time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = d
	}
	return out
}

func TestSlowIsTwiceTheMedian(t *testing.T) {
	usual := repeat(20, 200*time.Millisecond)
	for name, tc := range map[string]struct {
		p    *pace
		rtt  time.Duration
		slow bool
	}{
		"too few to tell":         {paced(repeat(paceLeast-1, time.Millisecond)...), time.Hour, false},
		"usual":                   {paced(usual...), 200 * time.Millisecond, false},
		"twice":                   {paced(usual...), 400 * time.Millisecond, false},
		"more than twice":         {paced(usual...), 401 * time.Millisecond, true},
		"faster is not better":    {paced(usual...), time.Millisecond, false},
		"nobody feels it":         {paced(repeat(20, time.Millisecond)...), 100 * time.Millisecond, false},
		"a quarter are slow":      {paced(append(repeat(15, 200*time.Millisecond), repeat(5, time.Second)...)...), time.Second, true},
		"more than a quarter are": {paced(append(repeat(14, 200*time.Millisecond), repeat(6, time.Second)...)...), time.Second, false},
	} {
		if got := tc.p.slow(tc.rtt); got != tc.slow {
			t.Errorf("%s: slow is %v", name, got)
		}
	}
}

// On a network of two kinds of paths at most a quarter of all is ever dropped.
func TestFewAreDroppedOnAnyMixture(t *testing.T) {
	for percent := range 100 {
		p := &pace{}
		dropped := 0
		const built = 1000
		for i := range built {
			rtt := 100 * time.Millisecond
			if (i*37)%100 < percent {
				rtt = 700 * time.Millisecond
			}
			p.add(rtt)
			if p.slow(rtt) {
				dropped++
			}
		}
		if dropped > built*3/10 {
			t.Errorf("with %d %% slow paths %d of %d circuits were dropped", percent, dropped, built)
		}
		if len(p.trips) != paceSample {
			t.Fatalf("%d round trips are kept", len(p.trips))
		}
	}
}
