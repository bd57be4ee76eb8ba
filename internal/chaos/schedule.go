package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault is what a Step does to its targets.
type Fault string

// The faults of nodes, and the last two of clients.
const (
	Kill       Fault = "killed"      // kill -9, started again later
	Stop       Fault = "stopped"     // SIGSTOP, and SIGCONT later
	Alone      Fault = "cut off"     // no packet comes or goes
	Split      Fault = "partitioned" // no packet from and to some members
	FullDisk   Fault = "disk full"   // no byte fits
	SlowDisk   Fault = "disk slow"   // each sync takes longer
	Clock      Fault = "clock wrong" // by up to a minute
	KillClient Fault = "client killed"
	StopClient Fault = "client stopped"
)

// Faults lists all of them, in the order in which they are reported.
var Faults = []Fault{Kill, Stop, Alone, Split, FullDisk, SlowDisk, Clock, KillClient, StopClient}

// Step is one fault of a schedule.
type Step struct {
	At, For time.Duration
	Fault   Fault
	Targets []int // nodes, or of the last two faults clients; from 1
	Others  []int // of Split: whom the targets neither hear nor reach
	// Majority says that no majority of the swarm is left meanwhile.
	Majority bool
	Clock    time.Duration // of Clock: how far it is ahead
	Wait     time.Duration // of SlowDisk
}

// The pace of a schedule. It leaves every swarm a majority but for the times
// that say otherwise, and most of the time that majority and no more.
const (
	faultMin, faultMax = 2 * time.Second, 7 * time.Second
	pauseMin, pauseMax = time.Second, 4 * time.Second
	// One in so many faults is an absence that others' deletions fall into.
	longEvery        = 8
	longMin, longMax = 15 * time.Second, 40 * time.Second
	// A swarm loses its majority every so often for so long.
	majorityEvery                = 30 * time.Second
	majorityForMin, majorityFor  = 3 * time.Second, 6 * time.Second
	clockPauseMin, clockPauseMax = 2 * time.Second, 6 * time.Second
	clockForMin, clockForMax     = 4 * time.Second, 15 * time.Second
	// clockMin and clockMax are less apart than two members' clocks may be
	// (spec/mailbox.md §3), and a clock is a minute wrong at most.
	clockMin, clockMax             = -50 * time.Second, time.Minute
	clientPauseMin, clientPauseMax = 3 * time.Second, 8 * time.Second
	clientForMin, clientForMax     = time.Second, 4 * time.Second
	waitMin, waitMax               = 20 * time.Millisecond, 300 * time.Millisecond
)

// planner draws a schedule.
type planner struct {
	rand *rand.Rand
	end  time.Duration
	out  []Step
}

// Joiner is a node that joins during a schedule.
type Joiner struct {
	Node int
	At   time.Duration
}

// Plan draws the schedule of a seed, in the order of time, for swarms of the
// given nodes, and for others that join.
func Plan(seed uint64, d time.Duration, swarms [][]int, joiners []Joiner, clients int) []Step {
	p := &planner{rand: rand.New(rand.NewPCG(seed, 0)), end: d}
	for _, members := range swarms {
		p.swarm(members)
	}
	p.clocks(swarms)
	p.clients(clients)
	p.joiners(joiners, slices.Concat(swarms...))
	slices.SortStableFunc(p.out, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return p.out
}

func (p *planner) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(p.rand.Int64N(int64(hi-lo)))
}

// add takes a step unless it would outlast the schedule.
func (p *planner) add(s Step) bool {
	if s.At+s.For > p.end {
		return false
	}
	p.out = append(p.out, s)
	return true
}

// swarm draws the faults of a swarm's members: as many at a time as leave a
// majority, and now and then one more.
func (p *planner) swarm(members []int) {
	majorities := p.majorities(members)
	busy := make(map[int]time.Duration) // until when a node has its fault
	lanes := make([]time.Duration, (len(members)-1)/2)
	for i := range lanes {
		lanes[i] = p.between(0, pauseMax)
	}
	for len(lanes) > 0 {
		i := slices.Index(lanes, slices.Min(lanes))
		if lanes[i] >= p.end {
			return
		}
		s := p.fault(lanes[i], members, members, busy)
		if m, hit := overlap(s, majorities); hit {
			lanes[i] = m.At + m.For + p.between(pauseMin, pauseMax)
			continue
		}
		if p.add(s) {
			busy[s.Targets[0]] = s.At + s.For + pauseMin
		}
		lanes[i] = s.At + s.For + p.between(pauseMin, pauseMax)
	}
}

// fault draws one for a node of some that has none; what parts it from others
// parts it from half of the members.
func (p *planner) fault(at time.Duration, nodes, members []int, busy map[int]time.Duration) Step {
	s := Step{At: at, For: p.between(faultMin, faultMax), Fault: p.kind()}
	var free []int
	for _, m := range nodes {
		if busy[m] <= at {
			free = append(free, m)
		}
	}
	target := free[p.rand.IntN(len(free))] // fewer lanes than members
	s.Targets = []int{target}
	switch s.Fault {
	case Kill:
		if p.rand.IntN(longEvery) == 0 {
			s.For = p.between(longMin, longMax)
		}
	case SlowDisk:
		s.Wait = p.between(waitMin, waitMax)
	case Split:
		others := slices.DeleteFunc(slices.Clone(members), func(m int) bool { return m == target })
		p.rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		s.Others = others[:(len(others)+1)/2]
	}
	return s
}

// joiners draws the faults of nodes that join, one at a time, from the moment on
// when the first is there: what it is to keep is then on its way. Into which swarm
// each comes is not known yet.
func (p *planner) joiners(joiners []Joiner, others []int) {
	if len(joiners) == 0 {
		return
	}
	busy, had := make(map[int]time.Duration), make(map[int]int) // nobody is busy: there is one fault at a time
	at := slices.MinFunc(joiners, func(a, b Joiner) int { return cmp.Compare(a.At, b.At) }).At + p.between(0, pauseMin)
	for at < p.end {
		var next []int // who had the fewest of those that are there
		for _, j := range joiners {
			switch {
			case j.At > at || len(next) > 0 && had[j.Node] > had[next[0]]:
			case len(next) > 0 && had[j.Node] == had[next[0]]:
				next = append(next, j.Node)
			default:
				next = []int{j.Node}
			}
		}
		s := p.fault(at, next, others, busy)
		p.add(s)
		had[s.Targets[0]]++
		at += s.For + p.between(pauseMin, pauseMax)
	}
}

// kind draws a fault of a member other than a wrong clock, which takes nobody
// away.
func (p *planner) kind() Fault {
	kinds := []Fault{Kill, Kill, Stop, Alone, Split, FullDisk, SlowDisk}
	return kinds[p.rand.IntN(len(kinds))]
}

// majorities draws when a swarm loses its majority, and how.
func (p *planner) majorities(members []int) []Step {
	var out []Step
	for at := p.between(majorityEvery/3, majorityEvery); ; at += p.between(majorityEvery/2, majorityEvery*3/2) {
		who := slices.Clone(members)
		p.rand.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
		kinds := []Fault{Kill, Stop, Alone, FullDisk}
		s := Step{
			At: at, For: p.between(majorityForMin, majorityFor), Majority: true,
			Fault: kinds[p.rand.IntN(len(kinds))], Targets: who[:len(who)/2+1],
		}
		if !p.add(s) {
			return out
		}
		out = append(out, s)
	}
}

// overlap returns the first of others that a step would share its time with.
func overlap(s Step, others []Step) (Step, bool) {
	for _, o := range others {
		if s.At < o.At+o.For+pauseMin && o.At < s.At+s.For+pauseMin {
			return o, true
		}
	}
	return Step{}, false
}

func (p *planner) clocks(swarms [][]int) {
	nodes := slices.Concat(swarms...)
	until := make(map[int]time.Duration)
	for at := p.between(0, clockPauseMax); at < p.end; at += p.between(clockPauseMin, clockPauseMax) {
		n := nodes[p.rand.IntN(len(nodes))]
		s := Step{At: at, For: p.between(clockForMin, clockForMax), Fault: Clock, Targets: []int{n}, Clock: p.between(clockMin, clockMax)}
		if until[n] <= at && p.add(s) {
			until[n] = s.At + s.For
		}
	}
}

func (p *planner) clients(n int) {
	for at := p.between(0, clientPauseMax); at < p.end && n > 0; {
		s := Step{At: at, For: p.between(clientForMin, clientForMax), Fault: KillClient, Targets: []int{1 + p.rand.IntN(n)}}
		if p.rand.IntN(3) == 0 {
			s.Fault = StopClient
		}
		p.add(s)
		at += s.For + p.between(clientPauseMin, clientPauseMax)
	}
}
