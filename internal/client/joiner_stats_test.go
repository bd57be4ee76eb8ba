package client

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// sample is a pair of mailboxes to judge.
type sample struct {
	f       []float64
	related bool
	cluster [2]uint64 // the conversations of the two: pairs that share one hang together
	weight  float64   // of how many pairs it was drawn
	score   float64
}

// judge is a logistic regression on normalised features.
type judge struct{ mean, scale, weight []float64 }

const (
	rounds  = 250
	stride  = 0.5
	decay   = 1e-3
	clipped = 6.0 // standard deviations
)

// train looks at the first k features alone.
func train(samples []sample, k int) *judge {
	if len(samples) == 0 {
		return nil
	}
	j := &judge{mean: make([]float64, k), scale: make([]float64, k), weight: make([]float64, k+1)}
	yes := 0.0
	for _, s := range samples {
		for i, x := range s.f[:k] {
			j.mean[i] += x / float64(len(samples))
		}
		if s.related {
			yes++
		}
	}
	for _, s := range samples {
		for i, x := range s.f[:k] {
			j.scale[i] += (x - j.mean[i]) * (x - j.mean[i]) / float64(len(samples))
		}
	}
	for i := range j.scale {
		j.scale[i] = math.Sqrt(j.scale[i])
	}
	no := float64(len(samples)) - yes
	if yes == 0 || no == 0 {
		return nil
	}
	rows := make([][]float64, len(samples))
	for n, s := range samples {
		rows[n] = j.normal(s.f)
	}
	step := make([]float64, k+1)
	for range rounds {
		clear(step)
		for n, s := range samples {
			p := 1 / (1 + math.Exp(-dot(j.weight, rows[n])))
			e, share := -p, 0.5/no
			if s.related {
				e, share = 1-p, 0.5/yes
			}
			for i, x := range rows[n] {
				step[i] += e * x * share
			}
		}
		for i := range j.weight {
			j.weight[i] += stride * (step[i] - decay*j.weight[i])
		}
	}
	return j
}

func (j *judge) normal(f []float64) []float64 {
	k := len(j.mean)
	out := make([]float64, k+1)
	out[k] = 1
	for i, x := range f[:k] {
		if j.scale[i] > 1e-9 {
			out[i] = max(-clipped, min(clipped, (x-j.mean[i])/j.scale[i]))
		}
	}
	return out
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// figure is how well a joiner does.
type figure struct {
	auc, err float64 // and the standard error
	// top is what share of the surest hundredth is right, base of all.
	top, base  float64
	pairs, yes int
}

// measure scores samples that the joiner was not trained on.
func (j *judge) measure(samples []sample, r *rand.Rand) figure {
	for i := range samples {
		if j != nil {
			samples[i].score = dot(j.weight, j.normal(samples[i].f))
		}
	}
	// Equal scores in random order.
	r.Shuffle(len(samples), func(a, b int) { samples[a], samples[b] = samples[b], samples[a] })
	slices.SortStableFunc(samples, func(a, b sample) int { return cmp.Compare(b.score, a.score) })
	f := figure{pairs: len(samples)}
	for _, s := range samples {
		if s.related {
			f.yes++
		}
	}
	f.auc = area(samples, nil)
	var all float64
	for _, s := range samples {
		all += s.weight
		if s.related {
			f.base += s.weight
		}
	}
	f.base /= max(1, all)
	taken := 0.0
	for _, s := range samples {
		if taken >= all/100 {
			break
		}
		taken += s.weight
		if s.related {
			f.top += s.weight
		}
	}
	f.top /= max(1, taken)
	f.err = spread(samples, r)
	return f
}

// area is the area under the ROC curve of samples in falling order of score:
// the share of (related, unrelated) pairs in the right order, equal ones half.
func area(samples []sample, weight map[uint64]int) float64 {
	var above, yes, no float64 // unrelated ones above; all so far
	for i := 0; i < len(samples); {
		var y, n float64
		k := i
		for ; k < len(samples) && samples[k].score == samples[i].score; k++ {
			w := 1.0
			if weight != nil {
				w = times(weight, samples[k].cluster)
			}
			if samples[k].related {
				y += w
			} else {
				n += w
			}
		}
		above += y * (no + n/2)
		yes, no = yes+y, no+n
		i = k
	}
	if yes == 0 || no == 0 {
		return 0.5
	}
	return 1 - above/(yes*no)
}

const resamples = 100

// times is how often a pair is drawn when its conversations are.
func times(weight map[uint64]int, c [2]uint64) float64 {
	if c[0] == c[1] {
		return float64(weight[c[0]])
	}
	return float64(weight[c[0]] * weight[c[1]])
}

// spread is the standard error by bootstrap over conversations: the pairs of
// one mailbox with others are no independent ones.
func spread(samples []sample, r *rand.Rand) float64 {
	seen := map[uint64]bool{}
	var clusters []uint64
	for _, s := range samples {
		for _, c := range s.cluster {
			if !seen[c] {
				seen[c] = true
				clusters = append(clusters, c)
			}
		}
	}
	var sum, squares float64
	for range resamples {
		weight := map[uint64]int{}
		for range clusters {
			weight[clusters[r.IntN(len(clusters))]]++
		}
		a := area(samples, weight)
		sum, squares = sum+a, squares+a*a
	}
	mean := sum / resamples
	return math.Sqrt(max(0, squares/resamples-mean*mean))
}
