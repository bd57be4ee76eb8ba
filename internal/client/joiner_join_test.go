package client

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// joining is what a joiner of each grade finds out, for each role and relation.
type joining map[role]map[relation][grades]figure

// tell prints what single clues are worth to two nodes that use all they see:
// the best of each relation, and what stands among bytes and circuits.
func (w *joinRecord) tell(t testing.TB, views int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	all := w.views(allRoles, views, r)
	for rel := range relations {
		var sets [2][]sample
		w.samples(all, rel, &sets, seed)
		names, _ := clueNames()
		samples := append(sets[0], sets[1]...)
		by := func(k int) []sample {
			for i := range samples {
				samples[i].score = samples[i].f[k]
			}
			return samples
		}
		worth, order := make([]float64, len(names)), make([]int, len(names))
		for k := range names {
			slices.SortFunc(by(k), func(a, b sample) int { return cmp.Compare(b.score, a.score) })
			worth[k], order[k] = area(samples, nil), k
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(math.Abs(worth[b]-0.5), math.Abs(worth[a]-0.5)) })
		for n, k := range order {
			if n >= tellClues && !strings.Contains(names[k], "shared") && k > int(wordsOfBytes)+2 {
				continue // exits, circuits and words are told of in any case
			}
			f := (*judge)(nil).measure(by(k), r)
			t.Logf("%s, by %s alone: %.3f ± %.3f, surest 1%%: %.0f%% right (of all %.1f%%)", rel, names[k], f.auc, f.err, 100*f.top, 100*f.base)
		}
	}
}

const tellClues = 8

// falsePairs is how many pairs of mailboxes are drawn in a view to find unrelated
// ones.
const falsePairs = 1500

// join trains on half of the conversations and measures on the others.
func (w *joinRecord) join(views int, seed uint64) joining {
	out := joining{}
	r := rand.New(rand.NewPCG(seed, 7))
	for rl := range roles {
		all := w.views(rl, views, r)
		out[rl] = map[relation][grades]figure{}
		for rel := range relations {
			var sets [2][]sample // to train on, to measure on
			w.samples(all, rel, &sets, seed)
			var figures [grades]figure
			_, upTo := clueNames()
			for g, k := range upTo {
				figures[g] = train(sets[0], k).measure(sets[1], r)
			}
			out[rl][rel] = figures
		}
	}
	return out
}

// samples takes the related pairs of views, and falsePairs others of each on the
// average: of one that sees more there are more, as of those that are related.
func (w *joinRecord) samples(all []*view, rel relation, sets *[2][]sample, seed uint64) {
	sum := 0
	for _, v := range all {
		sum += v.pairs()
	}
	for i, v := range all {
		n := falsePairs * len(all) * v.pairs() / max(1, sum)
		w.judged(v, rel, n, sets, rand.New(rand.NewPCG(seed, uint64(i))), v.features)
	}
}

func (v *view) pairs() int { return len(v.boxes) * (len(v.boxes) - 1) / 2 }

func (w *joinRecord) judged(v *view, rel relation, unrelated int, sets *[2][]sample, r *rand.Rand, features func(m, n *boxView) []float64) {
	side := func(t joinTruth) (int, uint64) {
		h := fnv.New64a()
		h.Write(t.Conversation[:])
		if t.Writer < 0 {
			fmt.Fprint(h, t.Reader)
		}
		return int(h.Sum64() >> 20 & 1), h.Sum64()
	}
	add := func(m, n *boxView, weight float64) {
		a, aok := w.Truth[m.box]
		b, bok := w.Truth[n.box]
		if !aok || !bok || !rel.candidate(a, b) {
			return
		}
		x, one := side(a)
		y, other := side(b)
		if x != y {
			return
		}
		sets[x] = append(sets[x], sample{f: features(m, n), related: rel.related(a, b), cluster: [2]uint64{one, other}, weight: weight})
	}
	n := len(v.boxes)
	if n < 2 {
		return
	}
	for _, group := range w.groups(v, rel) {
		for i, m := range group {
			for _, o := range group[i+1:] {
				if rel.related(w.Truth[m.box], w.Truth[o.box]) {
					add(m, o, 1)
				}
			}
		}
	}
	weight := float64(v.pairs()) / float64(unrelated)
	for range unrelated {
		i, k := r.IntN(n), r.IntN(n)
		m, o := v.boxes[i], v.boxes[k]
		if i != k && !rel.related(w.Truth[m.box], w.Truth[o.box]) {
			add(m, o, weight)
		}
	}
}

// groups puts together what can be related at all, so that not every pair has to
// be looked at.
func (w *joinRecord) groups(v *view, rel relation) (out [][]*boxView) {
	by := map[string][]*boxView{}
	for _, b := range v.boxes {
		t, known := w.Truth[b.box]
		if !known {
			continue
		}
		key := string(t.Conversation[:])
		if rel == account {
			key = strconv.Itoa(t.Reader)
		}
		by[key] = append(by[key], b)
	}
	for _, key := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[key])
	}
	return out
}

func (j joining) print(t testing.TB) {
	for rl := range roles {
		for rel := range relations {
			var b strings.Builder
			for g := range grades {
				f := j[rl][rel][g]
				fmt.Fprintf(&b, "  %s: %.3f ± %.3f, surest 1%%: %.0f%% right (of all %.1f%%)", g, f.auc, f.err, 100*f.top, 100*f.base)
			}
			t.Logf("%s, %s:%s", rl, rel, b.String())
		}
	}
}
