package client

import (
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
}

// views draws pairs of nodes of a role.
func (w *joinWorld) views(rl role, n int, r *rand.Rand) (out []*view) {
	nodes := w.swarm.order
	twins := w.twins()
	swarm := func(i int) int { d, _ := w.swarm.dir.Node(nodes[i]); return int(d.Swarm) }
	for range n {
		var x, y int
		for {
			x, y = r.IntN(len(nodes)), r.IntN(len(nodes))
			if x != y && (rl != twoMembers || swarm(x) == swarm(y)) && (rl != twoSwarms || swarm(x) != swarm(y)) {
				break
			}
		}
		out = append(out, w.view(rl, w.log.nodes[nodes[x]], w.log.nodes[nodes[y]], twins))
	}
	return out
}

func (w *joinWorld) view(rl role, x, y uint16, twins map[[2]int32]int) *view {
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
	return w.seen(member, exit, guard, twins)
}

// seen is what members, exits and guards have together.
func (w *joinWorld) seen(member, exit, guard map[uint16]bool, twins map[[2]int32]int) *view {
	l := w.log
	v := &view{twins: twins, span: float64(l.now())}
	boxes := map[int32]*boxView{}
	for _, s := range l.sights {
		if !member[s.node] {
			continue
		}
		b := boxes[s.box]
		if b == nil {
			b = &boxView{box: s.box, exits: map[uint16]bool{}, circuits: map[int32]bool{}, sizes: l.sizes[s.box]}
			boxes[s.box] = b
		}
		b.times[s.kind] = append(b.times[s.kind], s.at)
		if s.stream < 0 {
			continue
		}
		c := l.streams[s.stream].circuit
		e := l.circuits[c].hops[2]
		b.exits[e] = true
		if s.kind == sawSub {
			b.subExits = append(b.subExits, subExit{s.at, e})
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
func (w *joinWorld) watchClients(v *view, guard map[uint16]bool) {
	cells := map[int][]int64{}
	for _, b := range w.log.bursts {
		c := w.log.circuits[b.circuit]
		if guard[c.hops[0]] {
			cells[c.client] = append(cells[c.client], b.at)
		}
	}
	for _, b := range v.boxes {
		b.clients = map[int]float64{}
		for client, at := range cells {
			b.clients[client] = surprise(b.times[sawPut], at, 0, 400, v.span)
		}
	}
}

// twins finds bytes that stand in two mailboxes and hardly anywhere else, in
// all that is stored anywhere.
func (w *joinWorld) twins() map[[2]int32]int {
	out := map[[2]int32]int{}
	for h, list := range w.log.twins {
		if list = append(slices.Clone(list), w.log.first[h]); len(list) > commonWindow {
			continue
		}
		for i, a := range list {
			for _, b := range list[i+1:] {
				out[[2]int32{min(a, b), max(a, b)}]++
			}
		}
	}
	return out
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

// The features come in three groups, each taken with those before it.
type grade uint8

const (
	byBytes    grade = iota // what is stored and signed, of which size
	byCircuits              // through which exits and circuits, and how often
	byTime
	grades
)

func (g grade) String() string {
	return [...]string{"bytes", "and circuits, counts", "and times"}[g]
}

// features of two mailboxes. Times are added last.
func (v *view) features(m, n *boxView, upTo grade) (f []float64) {
	key := [2]int32{min(m.box, n.box), max(m.box, n.box)}
	f = append(f, math.Log1p(float64(v.twins[key])))
	f = append(f, sizeDistance(m.sizes, n.sizes))
	if upTo == byBytes {
		return f
	}
	f = append(f, shared(m.circuits, n.circuits), overlapOf(m.exits, n.exits))
	for _, k := range []sightKind{sawPut, sawSub, sawDelete, sawFetch} {
		a, b := math.Log1p(float64(len(m.times[k]))), math.Log1p(float64(len(n.times[k])))
		f = append(f, -math.Abs(a-b))
	}
	if upTo == byCircuits {
		return f
	}
	for _, k := range []sightKind{sawSub, sawEnd, sawDelete, sawFetch, sawOpen} {
		for _, d := range []int64{300, 2000, 15_000, 90_000} {
			f = append(f, near(m.times[k], n.times[k], d, v.span))
		}
	}
	for _, d := range [][2]int64{{50, 1500}, {1500, 12_000}, {12_000, 75_000}, {75_000, 400_000}} {
		puts, others := m.times[sawPut], n.times[sawPut]
		f = append(f, surprise(puts, others, d[0], d[1], v.span)+surprise(others, puts, d[0], d[1], v.span))
		dels, gone := m.times[sawDelete], n.times[sawDelete]
		f = append(f, surprise(dels, others, -d[1], d[1], v.span)+surprise(gone, puts, -d[1], d[1], v.span))
	}
	f = append(f, sameExits(m.subExits, n.subExits))
	for _, k := range []sightKind{sawOpen, sawSub, sawPut} {
		f = append(f, closeToPeriod(m.times[k], n.times[k]))
	}
	f = append(f, closeToPeriodLast(m.times[sawEnd], n.times[sawEnd]), handOver(m.times[sawPut], n.times[sawPut]))
	best := 0.0
	for c, s := range m.clients {
		best = max(best, min(s, n.clients[c]))
	}
	return append(f, best)
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
	return -math.Abs(la/na-lb/nb) / math.Sqrt(p*(1-p)*(1/na+1/nb))
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

func overlapOf(a, b map[uint16]bool) float64 {
	n := 0
	for e := range a {
		if b[e] {
			n++
		}
	}
	return float64(n) / float64(len(a)+len(b)-n+1)
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

// related is the truth about two mailboxes.
func (r relation) related(a, b joinTruth) bool {
	switch r {
	case directions:
		return a.writer >= 0 && a.conversation == b.conversation && a.out != b.out
	case account:
		return a.reader == b.reader && a.conversation != b.conversation
	}
	return a.conversation == b.conversation && a.reader == b.reader && a.writer == b.writer && a.period != b.period
}

// candidate says whether two mailboxes can be related at all, by the period
// that stands in their locators.
func (r relation) candidate(a, b joinTruth) bool {
	if r == successive {
		return a.period+1 == b.period || b.period+1 == a.period
	}
	return a.period == b.period
}
