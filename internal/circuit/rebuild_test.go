package circuit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

// planner is a Manager without circuits or goroutines, for its choices.
func planner(t testing.TB, d *directory.Directory, seed byte, now *time.Time) *Manager {
	t.Helper()
	m := &Manager{
		cfg:    Config{Directory: directory.Fixed(d), Now: func() time.Time { return *now }},
		rand:   &lockedReader{r: testRand(seed)},
		events: make(chan Event, eventQueue),
		guards: &guardSet{}, vanguards: &vanguardSet{},
		said: make(map[string]bool), avoid: make(map[identity.NodeID]time.Time),
	}
	m.cfg.fill()
	if err := m.refreshLocked(*now, d); err != nil {
		t.Fatal(err)
	}
	return m
}

// Somebody ends a recipient's circuits for weeks: each day he meets the four
// vanguards as middles and whoever replaced one, while the middles of sending
// circuits are drawn from all nodes.
func TestRebuildsMeetFewMiddles(t *testing.T) {
	d := testDirectory(t, 100)
	now := start
	m := planner(t, d, 11, &now)
	const days, rebuilds = 30, 100
	ever := make(map[identity.NodeID]bool)
	sending := make(map[identity.NodeID]int)
	guard := m.guards.list[0].id
	drawn := vanguardCount
	for day := range days {
		today := make(map[identity.NodeID]bool)
		var replaced int
		for i := range rebuilds {
			now = start.Add(time.Duration(day)*24*time.Hour + time.Duration(i)*14*time.Minute)
			before := m.vanguards.ids()
			if err := m.refreshLocked(now, d); err != nil {
				t.Fatal(err)
			}
			for _, id := range before {
				if m.vanguards.find(id) == nil {
					replaced++
				}
			}
			for _, receives := range []bool{true, false} {
				p, err := m.choosePathLocked(now, d, receives, directory.PathRequest{Guard: guard, Target: m.guards.list[3+i%10].id})
				if err != nil {
					t.Fatal(err)
				}
				if receives {
					today[p.Middle.ID], ever[p.Middle.ID] = true, true
				} else {
					sending[p.Middle.ID]++
				}
			}
		}
		if len(today) > vanguardCount+replaced {
			t.Errorf("day %d: %d middles with %d replaced", day, len(today), replaced)
		}
		drawn += replaced
	}
	// A life of two uniform draws' maximum is 8.3 days on average.
	if len(ever) > drawn || drawn > vanguardCount+vanguardCount*days/4 {
		t.Errorf("%d middles in %d days, %d vanguards drawn", len(ever), days, drawn)
	}
	// Sending: a generous bound on chi-square over all nodes but the guard.
	nodes := d.Len() - 1
	expected := float64(days*rebuilds) / float64(nodes)
	chi := 0.0
	for _, n := range d.Nodes() {
		if n.ID != guard {
			chi += (float64(sending[n.ID]) - expected) * (float64(sending[n.ID]) - expected) / expected
		}
	}
	if sending[guard] != 0 || chi > 2*float64(nodes) {
		t.Errorf("sending: chi-square %.0f over %d nodes", chi, nodes)
	}
}

// Circuits that were made together end at moments of their own.
func TestLivesDiffer(t *testing.T) {
	now := start
	m := planner(t, testDirectory(t, 5), 12, &now)
	var quarters [4]int
	for range 400 {
		life := m.shortened(maxReceiveAge)
		least := maxReceiveAge - maxReceiveAge/ageShare
		if life < least || life > maxReceiveAge {
			t.Fatalf("a life of %v", life)
		}
		quarters[min(3, 4*(life-least)/(maxReceiveAge-least))]++
	}
	for _, n := range quarters {
		if n < 60 || n > 140 {
			t.Fatalf("lives by quarters of the spread: %v", quarters)
		}
	}
}

// Whatever the directory, target and kept apart exits: every circuit that is
// planned, picked or built obeys the rules, or its lack is said.
func TestEveryPathObeysTheRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := randomDirectory(t, rt)
		now := start
		m := planner(t, d, rapid.Byte().Draw(rt, "seed"), &now)
		nodes := d.Nodes()
		// Circuits that stand: idle ones and some in use, as if just built.
		m.circuits, m.builds = make(map[uint64]*circuit), make(map[*build]struct{})
		isolations := []Isolation{{Purpose: Send}, {Purpose: Receive}, {Purpose: Receive, Lane: 1}}
		for i := range rapid.IntRange(0, 8).Draw(rt, "circuits") {
			receives := rapid.Bool().Draw(rt, "receives")
			usable := m.guards.usable(now, d)
			guard := rapid.SampledFrom(usable).Draw(rt, "guard")
			p, err := m.choosePathLocked(now, d, receives, directory.PathRequest{Guard: guard.ID})
			if err != nil {
				continue
			}
			checkPath(rt, p)
			c := looseCircuit(func([]byte) {})
			c.id, c.path, c.vanguard = uint64(i+1), p, receives
			if rapid.Bool().Draw(rt, "used") {
				c.used, c.iso = true, isolations[0]
				if receives {
					c.iso = isolations[rapid.IntRange(1, 2).Draw(rt, "lane")]
				}
			}
			m.circuits[c.id] = c
		}
		r := &request{
			iso:    rapid.SampledFrom(isolations).Draw(rt, "isolation"),
			target: rapid.SampledFrom(nodes).Draw(rt, "target"),
		}
		if r.iso.Purpose == Receive {
			r.avoid = []Isolation{{Purpose: Receive, Lane: 1 - r.iso.Lane}}
		}
		exits := m.exitsOfLocked(r.avoid)
		over := make(map[identity.NodeID]bool)
		for range 3 { // the first choice and hedges
			if c := m.pickLocked(r); c != nil {
				checkPath(rt, c.path, r.target)
				checkExit(rt, c.path, exits)
				if c.vanguard != (r.iso.Purpose == Receive) || c.used && c.iso != r.iso {
					rt.Fatal("a circuit of another kind or isolation was picked")
				}
			}
			p, _, err := m.pathForLocked(r, exits, over, now)
			if err != nil {
				return // said, and tested in package directory
			}
			if p == nil {
				continue
			}
			over[p.Guard.ID] = true
			checkPath(rt, *p, r.target)
			checkExit(rt, *p, exits)
			if r.iso.Purpose == Receive && m.vanguards.find(p.Middle.ID) == nil {
				rt.Fatal("the middle of a receiving circuit is no vanguard")
			}
		}
	})
}

// randomDirectory draws a directory of few or many operators and networks, of
// both families.
func randomDirectory(t *testing.T, rt *rapid.T) *directory.Directory {
	operators := rapid.IntRange(1, 20).Draw(rt, "operators")
	blocks := rapid.IntRange(1, 20).Draw(rt, "blocks")
	g := directory.Document{Name: "random", Created: start}
	for i := range rapid.IntRange(1, 20).Draw(rt, "nodes") {
		block := byte(rapid.IntRange(1, blocks).Draw(rt, "block"))
		addr := netip.AddrFrom4([4]byte{10, block, 0, byte(i + 1)})
		if rapid.Bool().Draw(rt, "ipv6") {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 0, block, 15: byte(i + 1)})
		}
		g.Nodes = append(g.Nodes, directory.Node{
			ID: identity.NodeID{byte(i + 1)}, OnionKey: suite.DHPublic{byte(i + 1)},
			Operator: fmt.Sprintf("op-%d", rapid.IntRange(1, operators).Draw(rt, "operator")),
			Addr:     netip.AddrPortFrom(addr, 4433), Swarm: directory.SwarmID(i / 5),
		})
	}
	key, err := suite.NewSigningKey(testRand(1))
	if err != nil {
		t.Fatal(err)
	}
	n, err := directory.SignDocument(key, g)
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func checkPath(t *rapid.T, p directory.Path, targets ...directory.Node) {
	t.Helper()
	nodes := append([]directory.Node{p.Guard, p.Middle, p.Exit}, targets...)
	for i, a := range nodes {
		for _, b := range nodes[:i] {
			if directory.Conflict(a, b) {
				t.Fatalf("%s and %s stand on one path", a.Operator, b.Operator)
			}
		}
	}
}

func checkExit(t *rapid.T, p directory.Path, apart []directory.Node) {
	t.Helper()
	for _, n := range apart {
		if directory.Conflict(p.Exit, n) {
			t.Fatalf("exit %s conflicts with %s, which is kept apart", p.Exit.Operator, n.Operator)
		}
	}
}
