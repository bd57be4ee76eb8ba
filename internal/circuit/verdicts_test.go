package circuit

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/onion"
)

// fakeLink is a link that may be dead.
type fakeLink chan struct{}

func (l fakeLink) Done() <-chan struct{} { return l }

// ended lets a Manager see a circuit over its first guard end.
func ended(m *Manager, o outcome) {
	guard, _ := m.cfg.Directory.Current().Node(m.guards.list[0].id)
	c := looseCircuit(func([]byte) {})
	c.path.Guard = guard
	c.err, c.lost, c.busy, c.served = o.err, o.lost, o.busy, o.served
	m.circuitEnded(c)
}

// What the end of a circuit in use says of its guard.
func TestUseIsCounted(t *testing.T) {
	d := testDirectory(t, 10)
	for name, tc := range map[string]struct {
		o          outcome
		good, dead int
	}{
		"ended by us after use":            {outcome{err: errAge, served: true}, 1, 0},
		"a new path was asked for":         {outcome{err: errNewPath, served: true, busy: true}, 1, 0},
		"its relay went down in order":     {outcome{err: &ReasonError{onion.ReasonShutdown}, served: true, busy: true}, 1, 0},
		"ended by us, never answered":      {outcome{err: errAge}, 0, 0},
		"a relay ended it in use":          {outcome{err: &ReasonError{onion.ReasonLinkLost}, served: true, busy: true}, 0, 1},
		"garbled in use":                   {outcome{err: errGarbled, busy: true}, 0, 1},
		"silent in use":                    {outcome{err: errProbe, served: true, busy: true}, 0, 1},
		"a relay ended it with no streams": {outcome{err: &ReasonError{onion.ReasonLimit}, served: true}, 0, 0},
		"with its link":                    {outcome{err: errLinkLost, lost: true, served: true, busy: true}, 0, 0},
	} {
		now := start
		m := planner(t, d, 13, &now)
		m.changed, m.kick = make(chan struct{}), make(chan struct{}, 1)
		ended(m, tc.o)
		if s := m.guards.list[0].bias.served; int(s.good) != tc.good || int(s.of) != tc.good || len(m.deaths) != tc.dead {
			t.Errorf("%s: %d of %d counted, %d to be judged", name, s.good, s.of, len(m.deaths))
		}
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
	m.deaths = []death{{guard, dead, now}, {guard, make(fakeLink), now}}
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
		m.deaths = append(m.deaths, death{guard, make(fakeLink), now})
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
	m := planner(t, testDirectory(t, 10), 15, &now)
	m.circuits = make(map[uint64]*circuit)
	c := looseCircuit(func([]byte) {})
	c.used, c.usedAt, c.lastUse, c.life, c.last = true, now, now, time.Hour, maxUses-1
	c.retiring = make(chan struct{})
	m.circuits[1] = c
	if ended, _ := m.ageLocked(now); len(ended) != 0 || !c.takesStreams() {
		t.Fatal("retired early")
	}
	c.last++
	if c.takesStreams() {
		t.Fatal("takes more streams than maxUses")
	}
	if ended, _ := m.ageLocked(now); !errors.Is(ended[c], errAge) || !c.retired {
		t.Fatalf("not retired: %v", ended)
	}
}
