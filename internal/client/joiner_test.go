package client

import (
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	joinSwarms   = flag.String("joiner.swarms", "", "measure the joiner in networks of these numbers of swarms, as 3,10,50")
	joinScaled   = joinScale{}
	joinViews    int
	joinReceipts time.Duration
)

func init() {
	flag.IntVar(&joinScaled.accounts, "joiner.accounts", 50, "accounts of the joiner's world")
	flag.IntVar(&joinScaled.conversations, "joiner.conversations", 300, "conversations")
	flag.IntVar(&joinScaled.messages, "joiner.messages", 100, "messages of a conversation")
	flag.IntVar(&joinScaled.periods, "joiner.periods", 3, "periods of 48 hours")
	flag.DurationVar(&joinReceipts, "joiner.receipts", 0, "at most, how long receipts wait, if not as usual")
	flag.IntVar(&joinViews, "joiner.views", 30, "pairs of nodes of each role")
	flag.DurationVar(&joinScaled.tick, "joiner.tick", 5*time.Minute, "how often clients look at periods")
}

// joining is what a joiner of each grade finds out, for each role and relation.
type joining map[role]map[relation][grades]figure

// falsePairs is how many unrelated pairs of mailboxes are judged in a view.
const falsePairs = 1500

// join trains on half of the conversations and measures on the others.
func (w *joinWorld) join(views int, seed uint64) joining {
	out := joining{}
	r := rand.New(rand.NewPCG(seed, 7))
	for rl := range roles {
		all := w.views(rl, views, r)
		out[rl] = map[relation][grades]figure{}
		for rel := range relations {
			var figures [grades]figure
			for g := range grades {
				var sets [2][]sample // to train on, to measure on
				for i, v := range all {
					w.samples(v, rel, g, &sets, rand.New(rand.NewPCG(seed, uint64(i))))
				}
				figures[g] = train(sets[0]).measure(sets[1], r)
			}
			out[rl][rel] = figures
		}
	}
	return out
}

// samples takes the related pairs of a view, and as many others as falsePairs.
func (w *joinWorld) samples(v *view, rel relation, g grade, sets *[2][]sample, r *rand.Rand) {
	w.judged(v, rel, sets, r, func(m, n *boxView) []float64 { return v.features(m, n, g) })
}

func (w *joinWorld) judged(v *view, rel relation, sets *[2][]sample, r *rand.Rand, features func(m, n *boxView) []float64) {
	side := func(t joinTruth) (int, uint64) {
		h := fnv.New64a()
		h.Write(t.conversation[:])
		if t.writer < 0 {
			fmt.Fprint(h, t.reader)
		}
		return int(h.Sum64() >> 20 & 1), h.Sum64()
	}
	add := func(m, n *boxView, weight float64) {
		a, aok := w.truth[m.box]
		b, bok := w.truth[n.box]
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
				if rel.related(w.truth[m.box], w.truth[o.box]) {
					add(m, o, 1)
				}
			}
		}
	}
	weight := float64(n*(n-1)/2) / falsePairs
	for range falsePairs {
		i, k := r.IntN(n), r.IntN(n)
		m, o := v.boxes[i], v.boxes[k]
		if i != k && !rel.related(w.truth[m.box], w.truth[o.box]) {
			add(m, o, weight)
		}
	}
}

// groups puts together what can be related at all, so that not every pair has to
// be looked at.
func (w *joinWorld) groups(v *view, rel relation) (out [][]*boxView) {
	by := map[string][]*boxView{}
	for _, b := range v.boxes {
		t, known := w.truth[b.box]
		if !known {
			continue
		}
		key := string(t.conversation[:])
		if rel == account {
			key = strconv.Itoa(t.reader)
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

// live runs a world and hands it to the joiner.
func live(t *testing.T, scale joinScale, delay bool, views int, prepare func(*joinWorld)) (out joining) {
	synctest.Test(t, func(t *testing.T) {
		w := newJoinWorld(t, scale, delay, 1)
		if prepare != nil {
			prepare(w)
		}
		w.run()
		synctest.Wait() // members have seen everything end
		t.Logf("delays %v: %d mailboxes, %d known, %d sights, %d circuits, %d streams, %d windows", delay, len(w.log.locators), len(w.truth), len(w.log.sights), len(w.log.circuits), len(w.log.streams), len(w.log.first))
		out = w.join(views, 1)
		if w.after != nil {
			w.after()
		}
	})
	return out
}

// What nodes store joins nothing, and what the client does at random moments
// makes it harder for them to join by time. A client that leaves a mark is
// found out, so the joiner can join what can be joined.
func TestJoiner(t *testing.T) {
	if raced {
		t.Skip("virtual days of two worlds take the race detector minutes")
	}
	scale := joinScale{accounts: 8, conversations: 16, messages: 20, periods: 2, swarms: 3, tick: 10 * time.Minute}
	var plain, marked joining
	var sharp, dull figure
	plain = live(t, scale, true, 8, func(w *joinWorld) { w.after = func() { dull = w.sharply() } })
	marked = live(t, scale, false, 8, func(w *joinWorld) {
		w.log.mark = accountMark
		w.after = func() { sharp = w.sharply() }
	})
	for rel := range relations {
		f := plain[allRoles][rel][byBytes]
		t.Logf("%s: by bytes %.3f ± %.3f, by circuits and counts %.3f, by times too %.3f", rel, f.auc, f.err, plain[allRoles][rel][byCircuits].auc, plain[allRoles][rel][byTime].auc)
		if d := math.Abs(f.auc - 0.5); d > 5*f.err+0.02 {
			t.Errorf("%s: bytes alone join mailboxes: AUC %.3f ± %.3f", rel, f.auc, f.err)
		}
	}
	if f := marked[allRoles][account][byBytes]; f.auc < 0.7 {
		t.Errorf("a client that marks its requests is not found out: AUC %.3f ± %.3f", f.auc, f.err)
	}
	t.Logf("by the first moments alone: %.3f ± %.3f with delays, %.3f ± %.3f without", dull.auc, dull.err, sharp.auc, sharp.err)
	if dull.auc > sharp.auc-0.02 {
		t.Errorf("delays do not help: AUC %.3f by the first moments, %.3f without delays", dull.auc, sharp.auc)
	}
}

// sharply joins both directions of conversations by nothing but what follows
// within moments, untrained, with what all members together saw.
func (w *joinWorld) sharply() figure {
	member := map[uint16]bool{}
	for _, i := range w.log.nodes {
		member[i] = true
	}
	v := w.seen(member, nil, nil, nil)
	var sets [2][]sample
	r := rand.New(rand.NewPCG(8, 8))
	w.judged(v, directions, &sets, r, func(m, n *boxView) []float64 {
		a, b := m.times[sawPut], n.times[sawPut]
		return []float64{float64(within(a, b, 20, 1000) + within(b, a, 20, 1000))}
	})
	all := append(sets[0], sets[1]...)
	for i := range all {
		all[i].score = all[i].f[0]
	}
	return (*judge)(nil).measure(all, r)
}

// The measurement at scale, by hand (docs/benchmarks.md).
func TestJoinerAtScale(t *testing.T) {
	if *joinSwarms == "" {
		t.Skip("takes minutes: -joiner.swarms=3,10,50")
	}
	for s := range strings.SplitSeq(*joinSwarms, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		scale := joinScaled
		scale.swarms = n
		for _, delay := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d swarms, delays %v", n, delay), func(t *testing.T) {
				began := realNow()
				live(t, scale, delay, joinViews, nil).print(t)
				t.Logf("took %v", realNow().Sub(began))
			})
		}
	}
}

// realNow is called outside of virtual time.
func realNow() time.Time { return time.Now() }
