package client

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"sotto/internal/identity"
)

// role is what two colluding nodes use of what they are.
type role uint8

const (
	twoMembers role = iota // of one swarm
	twoSwarms              // members of different ones
	memberExit
	memberGuard
	allRoles // two nodes, each as member, exit and guard
	roles
)

func (r role) String() string {
	return [...]string{"two members of a swarm", "members of two swarms", "member and exit", "member and guard", "two nodes, all they see"}[r]
}

// relation is what is to be found out about two mailboxes.
type relation uint8

const (
	directions relation = iota // both directions of a conversation
	account                    // read by one account
	successive                 // one direction in successive periods
	relations
)

func (r relation) String() string {
	return [...]string{"both directions of a conversation", "one account's mailboxes", "successive periods of one mailbox"}[r]
}

// boxView is what two nodes saw of a mailbox: times of each kind, sorted.
type boxView struct {
	box      int32
	times    [sawKinds][]int64
	exits    map[uint16]bool
	subExits []subExit
	circuits map[int32]bool
	sizes    [4]int
	words    *words
	clients  map[int]float64 // a guard's: how well a client's cells fit
}

type subExit struct {
	at   int64
	exit uint16
}

// view is what two nodes have.
type view struct {
	boxes []*boxView
	twins map[[2]int32]int // windows of bytes that two mailboxes share and few others have
	span  float64          // milliseconds
	nodes int              // there are
}

// views draws pairs of nodes of a role.
func (w *joinRecord) views(rl role, n int, r *rand.Rand) (out []*view) {
	swarm := w.Swarms
	for range n {
		var x, y int
		for {
			x, y = r.IntN(len(swarm)), r.IntN(len(swarm))
			if x != y && (rl != twoMembers || swarm[x] == swarm[y]) && (rl != twoSwarms || swarm[x] != swarm[y]) {
				break
			}
		}
		out = append(out, w.view(rl, uint16(x), uint16(y)))
	}
	return out
}

func (w *joinRecord) view(rl role, x, y uint16) *view {
	member := map[uint16]bool{x: true}
	exit, guard := map[uint16]bool{}, map[uint16]bool{}
	switch rl {
	case twoMembers, twoSwarms:
		member[y] = true
	case memberExit:
		exit[y] = true
	case memberGuard:
		guard[y] = true
	case allRoles:
		member[y] = true
		exit[x], exit[y] = true, true
		guard[x], guard[y] = true, true
	}
	return w.seen(member, exit, guard)
}

// seen is what members, exits and guards have together.
func (w *joinRecord) seen(member, exit, guard map[uint16]bool) *view {
	v := &view{twins: w.Twins, span: float64(w.Span), nodes: len(w.Swarms)}
	boxes := map[int32]*boxView{}
	for _, s := range w.Sights {
		if !member[s.Node] {
			continue
		}
		b := boxes[s.Box]
		if b == nil {
			b = &boxView{box: s.Box, exits: map[uint16]bool{}, circuits: map[int32]bool{}, sizes: w.Sizes[s.Box], words: w.wordsOf(s.Box)}
			boxes[s.Box] = b
		}
		b.times[s.Kind] = append(b.times[s.Kind], s.At)
		if s.Stream < 0 {
			continue
		}
		c := w.Streams[s.Stream].Circuit
		e := w.Circuits[c].Hops[2]
		b.exits[e] = true
		if s.Kind == sawSub {
			b.subExits = append(b.subExits, subExit{s.At, e})
		}
		if exit[e] {
			b.circuits[c] = true
		}
	}
	for _, b := range boxes {
		for k := range b.times {
			slices.Sort(b.times[k])
			b.times[k] = slices.Compact(b.times[k]) // two members saw one put
		}
		v.boxes = append(v.boxes, b)
	}
	slices.SortFunc(v.boxes, func(a, b *boxView) int { return int(a.box - b.box) })
	if len(guard) > 0 {
		w.watchClients(v, guard)
	}
	return v
}

// watchClients lets guards compare when cells of a message cross their clients'
// circuits with when members get and push one.
func (w *joinRecord) watchClients(v *view, guard map[uint16]bool) {
	cells := map[int][]int64{}
	for _, b := range w.Bursts {
		c := w.Circuits[b.Circuit]
		if guard[c.Hops[0]] {
			cells[c.Client] = append(cells[c.Client], b.At)
		}
	}
	for _, b := range v.boxes {
		b.clients = map[int]float64{}
		for client, at := range cells {
			b.clients[client] = surprise(b.times[sawPut], at, 0, 400, v.span)
		}
	}
}

// within counts the members of a that have one of b between lo and hi after
// them. Both are sorted.
func within(a, b []int64, lo, hi int64) (n int) {
	j := 0
	for _, t := range a {
		for j < len(b) && b[j] < t+lo {
			j++
		}
		if j < len(b) && b[j] <= t+hi {
			n++
		}
	}
	return n
}

// surprise is how many more of a are followed by one of b than chance would
// have it, in standard deviations, with large ones drawn together.
func surprise(a, b []int64, lo, hi int64, span float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	p := 1 - math.Exp(-float64(hi-lo)*float64(len(b))/span)
	want := p * float64(len(a))
	return math.Asinh((float64(within(a, b, lo, hi)) - want) / math.Sqrt(want+0.3))
}

// near is surprise within d before or after.
func near(a, b []int64, d int64, span float64) float64 {
	return surprise(a, b, -d, d, span) + surprise(b, a, -d, d, span)
}

// The features come in four groups, each taken with those before it.
type grade uint8

const (
	byBytes    grade = iota // what is stored, signed and said, of which size
	byCircuits              // through which exits and circuits
	byCounts                // and how often
	byTime
	grades
)

func (g grade) String() string {
	return [...]string{"bytes", "and circuits", "and counts", "and times"}[g]
}

// clues are what a joiner compares of two mailboxes, with names if they are
// asked for, and how many there are up to each grade.
type clues struct {
	f     []float64
	named bool
	names []string
	upTo  [grades]int
}

func (c *clues) add(x float64, format string, args ...any) {
	c.f = append(c.f, x)
	if c.named {
		c.names = append(c.names, fmt.Sprintf(format, args...))
	}
}

// clueNames returns how the clues are called.
func clueNames() (names []string, upTo [grades]int) {
	c := clues{named: true}
	b := &boxView{words: &words{}}
	(&view{span: 1, nodes: 2}).compare(&c, b, b)
	return c.names, c.upTo
}

// features of two mailboxes. Times are added last.
func (v *view) features(m, n *boxView) []float64 {
	c := clues{f: make([]float64, 0, 64)}
	v.compare(&c, m, n)
	return c.f
}

func (v *view) compare(c *clues, m, n *boxView) {
	key := [2]int32{min(m.box, n.box), max(m.box, n.box)}
	c.add(math.Log1p(float64(v.twins[key])), "equal bytes")
	c.add(sizeDistance(m.sizes, n.sizes), "shares of sizes")
	for k := wordPayer + 1; k < wordsOfBytes; k++ {
		c.add(m.words.distance(n.words, k), "%v", k)
	}
	for k := range wordPayer + 1 {
		c.add(m.words.same(n.words, k, m.box, n.box), "%v", k)
	}
	c.upTo[byBytes] = len(c.f)
	c.add(shared(m.circuits, n.circuits), "circuits shared")
	c.add(overlapOf(m.exits, n.exits, v.nodes), "exits shared")
	c.upTo[byCircuits] = len(c.f)
	for k := wordsOfBytes; k < wordClasses; k++ {
		c.add(m.words.distance(n.words, k), "%v", k)
	}
	for _, k := range []sightKind{sawPut, sawSub, sawDelete, sawFetch} {
		a, b := math.Log1p(float64(len(m.times[k]))), math.Log1p(float64(len(n.times[k])))
		c.add(-math.Abs(a-b), "number of %v", k)
	}
	c.upTo[byCounts] = len(c.f)
	v.compareTimes(c, m, n)
	c.upTo[byTime] = len(c.f)
}

func (v *view) compareTimes(c *clues, m, n *boxView) {
	for _, k := range []sightKind{sawSub, sawEnd, sawDelete, sawFetch, sawOpen} {
		for _, d := range []int64{300, 2000, 15_000, 90_000} {
			c.add(near(m.times[k], n.times[k], d, v.span), "%v within %.1f s", k, float64(d)/1000)
		}
	}
	puts, others := m.times[sawPut], n.times[sawPut]
	dels, gone := m.times[sawDelete], n.times[sawDelete]
	for _, d := range [][2]int64{{50, 1500}, {1500, 12_000}, {12_000, 75_000}, {75_000, 400_000}} {
		c.add(surprise(puts, others, d[0], d[1], v.span)+surprise(others, puts, d[0], d[1], v.span), "puts within %.1f to %.1f s", float64(d[0])/1000, float64(d[1])/1000)
		c.add(surprise(dels, others, -d[1], d[1], v.span)+surprise(gone, puts, -d[1], d[1], v.span), "deletes and puts within %.1f s", float64(d[1])/1000)
	}
	c.add(sameExits(m.subExits, n.subExits), "exits of subscriptions begun together")
	for _, k := range []sightKind{sawOpen, sawSub, sawPut} {
		c.add(closeToPeriod(m.times[k], n.times[k]), "first %v a period apart", k)
	}
	c.add(closeToPeriodLast(m.times[sawEnd], n.times[sawEnd]), "last end a period apart")
	c.add(handOver(m.times[sawPut], n.times[sawPut]), "puts follow on")
	c.add(watchedOn(m, n), "watched together for as long as clocks may differ")
	best := 0.0
	for client, s := range m.clients {
		best = max(best, min(s, n.clients[client]))
	}
	c.add(best, "a client's cells fit both")
}

// sizeDistance compares the shares of envelopes above the smallest class, in
// standard deviations of what chance makes of as many envelopes.
func sizeDistance(a, b [4]int) float64 {
	na, nb := float64(a[0]+a[1]+a[2]), float64(b[0]+b[1]+b[2])
	if na == 0 || nb == 0 {
		return 0
	}
	la, lb := na-float64(a[0]), nb-float64(b[0])
	p := (la + lb) / (na + nb)
	if p == 0 || p == 1 {
		return 0
	}
	d := la/na - lb/nb
	return -standard(d*d/(p*(1-p)*(1/na+1/nb)), 1)
}

func shared(a, b map[int32]bool) float64 {
	n := 0
	for c := range a {
		if b[c] {
			n++
		}
	}
	return math.Log1p(float64(n))
}

// overlapOf is how many more exits two mailboxes share than chance has it with
// as many out of all, in standard deviations.
func overlapOf(a, b map[uint16]bool, all int) float64 {
	n := 0
	for e := range a {
		if b[e] {
			n++
		}
	}
	x, y, z := float64(len(a)), float64(len(b)), float64(all)
	want := x * y / z
	spread := want * (1 - x/z) * (1 - y/z) * z / (z - 1)
	return (float64(n) - want) / math.Sqrt(spread+0.1)
}

// sameExits compares through which exits subscriptions were made that began
// within 90 seconds of one another.
func sameExits(a, b []subExit) float64 {
	same, other := 0, 0
	for _, x := range a {
		for _, y := range b {
			if d := x.at - y.at; d < 90_000 && d > -90_000 {
				if x.exit == y.exit {
					same++
				} else {
					other++
				}
			}
		}
	}
	return math.Asinh(float64(4*same-other)) / 2
}

const periodMillis = int64(identity.PeriodLength / 1e6)

// closeToPeriod is how near the first of a and of b are to one period apart.
func closeToPeriod(a, b []int64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return -9
	}
	return nearPeriod(a[0], b[0])
}

func closeToPeriodLast(a, b []int64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return -9
	}
	return nearPeriod(a[len(a)-1], b[len(b)-1])
}

func nearPeriod(a, b int64) float64 {
	d := a - b
	if d < 0 {
		d = -d
	}
	if d -= periodMillis; d < 0 {
		d = -d
	}
	return -math.Log1p(float64(d) / 60_000)
}

// handOver is whether one ends before the other begins, and how soon after.
func handOver(a, b []int64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return -9
	}
	gap := max(b[0]-a[len(a)-1], a[0]-b[len(b)-1])
	if gap < 0 {
		return -9 - math.Log1p(float64(-gap)/60_000)/4
	}
	return -math.Log1p(float64(gap) / 60_000)
}

// watchedOn is how near to twice the overlap the time is from when one is first
// subscribed to until the other is last.
func watchedOn(m, n *boxView) float64 {
	best := -9.0
	for _, x := range [][2]*boxView{{m, n}, {n, m}} {
		last, first := x[0].times[sawEnd], x[1].times[sawSub]
		if len(last) > 0 && len(first) > 0 {
			d := last[len(last)-1] - first[0] - 2*overlap.Milliseconds()
			best = max(best, -math.Log1p(math.Abs(float64(d))/60_000))
		}
	}
	return best
}

// related is the truth about two mailboxes.
func (r relation) related(a, b joinTruth) bool {
	switch r {
	case directions:
		return a.Writer >= 0 && a.Conversation == b.Conversation && a.Out != b.Out
	case account:
		return a.Reader == b.Reader && a.Conversation != b.Conversation
	}
	return a.Conversation == b.Conversation && a.Reader == b.Reader && a.Writer == b.Writer && a.Period != b.Period
}

// candidate says whether two mailboxes can be related at all, by the period and
// the kind that stand in their locators: nobody has two front doors. Those of
// successive periods are left out, since no conversation stands behind them.
func (r relation) candidate(a, b joinTruth) bool {
	door, other := a.Writer < 0, b.Writer < 0
	if door && other || (door || other) && r != account {
		return false
	}
	if r == successive {
		return a.Period+1 == b.Period || b.Period+1 == a.Period
	}
	return a.Period == b.Period
}
