package bench

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// allocRounds is how often allocations are counted.
const allocRounds = 5

// interleave runs each of fs perRound times in every round, one after the other,
// and returns the median time of one call of each in nanoseconds. Since all
// share the rounds, what else the machine does falls on all alike.
func interleave(ctx context.Context, rounds, perRound int, fs ...func()) ([]float64, error) {
	samples := make([][]float64, len(fs))
	for range rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i, f := range fs {
			began := time.Now()
			for range perRound {
				f()
			}
			samples[i] = append(samples[i], float64(time.Since(began))/float64(perRound))
		}
	}
	out := make([]float64, len(fs))
	for i := range fs {
		out[i] = middle(samples[i])
	}
	return out, nil
}

// allocations returns how many allocations one call of each of fs makes,
// together: the median of some rounds, since the runtime allocates now and then.
func allocations(perRound int, fs ...func()) float64 {
	var samples []float64
	for range allocRounds {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, f := range fs {
			for range perRound {
				f()
			}
		}
		runtime.ReadMemStats(&after)
		samples = append(samples, float64(after.Mallocs-before.Mallocs)/float64(perRound))
	}
	return middle(samples)
}

// middle returns the median of samples, which it sorts; 0 of none.
func middle(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[len(samples)/2]
}

// percentile returns the p-th percentile (0 to 100) of samples, which it sorts.
func percentile(samples []time.Duration, p float64) time.Duration {
	slices.Sort(samples)
	if len(samples) == 0 {
		return 0
	}
	i := int(p / 100 * float64(len(samples)))
	return samples[min(i, len(samples)-1)]
}

// milliseconds is d in the unit of the figures.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// perSecond is how many of n there are in a second, if n took d.
func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
