package circuit

import (
	"errors"
	"io"
	"testing"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// fakeLink is a link that may be dead.
type fakeLink chan struct{}

func (l fakeLink) Done() <-chan struct{} { return l }

// ended lets a Manager see a circuit over its first guard end, which was
// finished a while ago.
func ended(m *Manager, o outcome, change func(*circuit)) {
	guard, _ := m.cfg.Directory.Current().Node(m.guards.list[0].id)
	m.guards.countBuilt(guard.ID, true)
	c := looseCircuit(func([]byte) {})
	c.path.Guard, c.link = guard, make(fakeLink)
	c.err, c.lost, c.served, c.used = o.err, o.lost, o.served, true
	change(c)
	m.circuitEnded(c)
}

// What the end of a circuit says of its guard. A guard that knows which circuits
// it does not like may end them in any way and at any time, and gains nothing by
// its choice.
func TestEndsAreCounted(t *testing.T) {
	d := testDirectory(t, 10)
	in := func(*circuit) {}
	unused := func(c *circuit) { c.used = false }
	announced := func(c *circuit) { c.leaving.Store(3) }
	shutdown := &ReasonError{onion.ReasonShutdown}
	for name, tc := range map[string]struct {
		o             outcome
		change        func(*circuit)
		built, served share
	}{
		"by us after use":               {outcome{err: errAge, served: true}, in, share{1, 1}, share{1, 1}},
		"a new path was asked for":      {outcome{err: errNewPath, served: true}, in, share{1, 1}, share{1, 1}},
		"by us, never answered":         {outcome{err: errAge}, in, share{1, 1}, share{}},
		"by us, unused":                 {outcome{err: errSurplus}, unused, share{1, 1}, share{}},
		"its relay was to go down":      {outcome{err: errLeaving, served: true}, announced, share{1, 1}, share{1, 1}},
		"its relay went down in order":  {outcome{err: shutdown, served: true}, announced, share{1, 1}, share{}},
		"its relay just says so":        {outcome{err: shutdown, served: true}, in, share{1, 1}, share{1, 0}},
		"by a relay in use":             {outcome{err: &ReasonError{onion.ReasonLinkLost}, served: true}, in, share{1, 1}, share{1, 0}},
		"by a relay that ends a stream": {outcome{err: io.EOF, served: true}, in, share{1, 1}, share{1, 0}},
		"within a cell":                 {outcome{err: link.ErrPartialCell, served: true}, in, share{1, 1}, share{1, 0}},
		"garbled in use":                {outcome{err: errGarbled}, in, share{1, 1}, share{1, 0}},
		"silent in use":                 {outcome{err: errProbe, served: true}, in, share{1, 1}, share{1, 0}},
		"by a relay, unused":            {outcome{err: &ReasonError{onion.ReasonLimit}}, unused, share{1, 0}, share{}},
		"going down, unused":            {outcome{err: shutdown}, unused, share{1, 0}, share{}},
		"with its link":                 {outcome{err: errLinkLost, lost: true, served: true}, in, share{1, 1}, share{}},
	} {
		now := start
		m := planner(t, d, 13, &now)
		m.changed, m.kick = make(chan struct{}), make(chan struct{}, 1)
		ended(m, tc.o, tc.change)
		now = now.Add(judgeAfter)
		m.judgeLocked(now)
		if b := m.guards.list[0].bias; b.built != tc.built || b.served != tc.served {
			t.Errorf("%s: %+v of those built and %+v of those used", name, b.built, b.served)
		}
	}
}

// A guard that says that it is going down when it sees where a path leads has
// failed the path, and nothing new goes over it.
func TestGuardLeavesDuringBuild(t *testing.T) {
	now := start
	m := planner(t, testDirectory(t, 10), 16, &now)
	m.circuits = make(map[uint64]*circuit)
	guard, _ := m.cfg.Directory.Current().Node(m.guards.list[0].id)
	other := looseCircuit(func([]byte) {})
	other.path.Guard = guard
	m.circuits[1] = other
	for hop, want := range []share{{1, 0}, {1, 0}} {
		at := &buildError{hop: hop, node: guard, err: &leavingError{hop}}
		if !m.leftBuildLocked(at, now) {
			t.Fatal("taken for another failure")
		}
		if got := m.guards.list[0].bias.built; got != want {
			t.Errorf("hop %d: counted %+v, want %+v", hop, got, want)
		}
	}
	if other.takesStreams() {
		t.Error("a circuit over a guard that goes down takes streams")
	}
	if m.guards.usable(now, m.cfg.Directory.Current())[0].ID == guard.ID {
		t.Error("a guard that goes down is in use")
	}
}

// A death in use counts once the guard's link has outlived it, and not if the
// link died as well; a guard behind which too many die is said to be doubtful,
// then not used any more.
func TestDeathsAreJudged(t *testing.T) {
	now := start
	m := planner(t, testDirectory(t, 10), 14, &now)
	m.events = make(chan Event, 1000)
	guard, _ := m.cfg.Directory.Current().Node(m.guards.list[0].id)
	dead := make(fakeLink)
	close(dead)
	m.deaths = []death{{guard, dead, now, true}, {guard, make(fakeLink), now, true}}
	if next := m.judgeLocked(now); next != judgeAfter || len(m.deaths) != 2 {
		t.Fatalf("judged at once; next look in %v", next)
	}
	now = now.Add(judgeAfter)
	m.judgeLocked(now)
	if s := m.guards.list[0].bias.served; s != (share{1, 0}) || len(m.deaths) != 0 {
		t.Fatalf("counted %+v", s)
	}
	for i := range 3 * servedSample {
		if i%5 < 2 { // 40 %
			m.servedLocked(guard, true)
			continue
		}
		m.deaths = append(m.deaths, death{guard, make(fakeLink), now, true})
		now = now.Add(judgeAfter)
		m.judgeLocked(now)
	}
	kinds := make(map[EventKind]int)
	for len(m.events) > 0 {
		e := <-m.events
		kinds[e.Kind]++
	}
	if kinds[EventSuspect] != 1 {
		t.Errorf("events: %v", kinds)
	}
	for _, n := range m.guards.usable(now, m.cfg.Directory.Current()) {
		if n.ID == guard.ID {
			t.Error("a guard behind which 60 % die in use is still used")
		}
	}
}

// A circuit that has carried its share of streams retires whatever its age.
func TestUsedUpCircuitRetires(t *testing.T) {
	now := start
	d := testDirectory(t, 10)
	m := planner(t, d, 15, &now)
	m.circuits = make(map[uint64]*circuit)
	c := looseCircuit(func([]byte) {})
	c.path = pathOver(d, 0, 1, 2)
	c.used, c.usedAt, c.lastUse, c.life, c.last = true, now, now, time.Hour, maxUses-1
	c.retiring = make(chan struct{})
	m.circuits[1] = c
	if ended, _ := m.ageLocked(now, d); len(ended) != 0 || !c.takesStreams() {
		t.Fatal("retired early")
	}
	c.last++
	if c.takesStreams() {
		t.Fatal("takes more streams than maxUses")
	}
	if ended, _ := m.ageLocked(now, d); !errors.Is(ended[c], errAge) || !c.retired {
		t.Fatalf("not retired: %v", ended)
	}
}
