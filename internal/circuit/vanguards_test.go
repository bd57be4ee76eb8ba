package circuit

import (
	"math"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

func drawn(t testing.TB, d *directory.Directory, primary []directory.Node) *vanguardSet {
	t.Helper()
	s := &vanguardSet{}
	if changed, err := s.refresh(testRand(5), start, d, primary); err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	return s
}

func TestVanguardsAreApart(t *testing.T) {
	d := testDirectory(t, 30)
	primary := sampled(t, d).primary(d)
	s := drawn(t, d, primary)
	if len(s.list) != vanguardCount {
		t.Fatalf("%d vanguards, want %d", len(s.list), vanguardCount)
	}
	nodes := primary
	for _, id := range s.ids() {
		n, _ := d.Node(id)
		for _, o := range nodes {
			if directory.Conflict(n, o) {
				t.Fatalf("%s conflicts with %s", n.Operator, o.Operator)
			}
		}
		nodes = append(nodes, n)
	}
	// In a small network they may be primary guards: a path's rules decide.
	small := testDirectory(t, 5)
	if s := drawn(t, small, sampled(t, small).primary(small)); len(s.list) != vanguardCount {
		t.Fatalf("%d vanguards of 5 nodes", len(s.list))
	}
	if s := drawn(t, testDirectory(t, 2), nil); len(s.list) != 2 {
		t.Fatalf("%d vanguards of 2 nodes", len(s.list))
	}
}

// Lives are the larger of two uniform draws between 1 and 12 days.
func TestVanguardLives(t *testing.T) {
	d := testDirectory(t, 100)
	rand := testRand(6)
	const sets = 500
	var sum float64
	short := 0
	for range sets {
		s := &vanguardSet{}
		if _, err := s.refresh(rand, start, d, nil); err != nil {
			t.Fatal(err)
		}
		for _, v := range s.list {
			life := v.expires.Sub(start)
			if life < vanguardMin || life > vanguardMin+vanguardSpread {
				t.Fatalf("a life of %v", life)
			}
			sum += float64(life-vanguardMin) / float64(vanguardSpread)
			if life-vanguardMin < vanguardSpread/2 {
				short++
			}
		}
	}
	const n = sets * vanguardCount
	// The mean of the larger of two is 2/3, with a deviation of 1/sqrt(18).
	if mean, bound := sum/n, 5/math.Sqrt(18*n); math.Abs(mean-2.0/3) > bound {
		t.Fatalf("mean life %.3f of the spread, want 2/3 ± %.3f", mean, bound)
	}
	if p := float64(short) / n; math.Abs(p-0.25) > 5*math.Sqrt(0.25*0.75/n) {
		t.Fatalf("%.3f of the lives are in the lower half, want a quarter", p)
	}
}

func TestVanguardsAreReplaced(t *testing.T) {
	d := testDirectory(t, 50)
	s := drawn(t, d, nil)
	before := s.ids()
	if changed, _ := s.refresh(testRand(7), start.Add(vanguardMin-time.Second), d, nil); changed {
		t.Fatal("the set changed within its life")
	}
	later := start.Add(vanguardMin + vanguardSpread)
	if changed, _ := s.refresh(testRand(7), later, d, nil); !changed || len(s.list) != vanguardCount {
		t.Fatalf("after its life the set has %d vanguards", len(s.list))
	}
	for _, id := range before {
		if v := s.find(id); v != nil && v.added != later {
			t.Fatal("an expired vanguard is kept")
		}
	}
	// One that leaves the directory is replaced, too.
	if changed, _ := s.refresh(testRand(8), later, testDirectory(t, 20), nil); !changed {
		t.Fatal("vanguards that the directory does not list are kept")
	}
}

// A guard that calls vanguards unreachable wears the set out by one a day at
// most, and one success in between keeps a vanguard.
func TestVanguardsAreGivenUpSlowly(t *testing.T) {
	d := testDirectory(t, 50)
	s := drawn(t, d, nil)
	rand := testRand(9)
	gone := 0
	const days = 10
	for i := range days * 24 * 60 {
		now := start.Add(time.Duration(i) * time.Minute)
		for _, id := range s.ids() {
			if s.failed(id, now) {
				gone++
			}
		}
		if _, err := s.refresh(rand, now, d, nil); err != nil {
			t.Fatal(err)
		}
	}
	if gone < days/2 || gone > days {
		t.Fatalf("%d vanguards were given up in %d days", gone, days)
	}
	s = drawn(t, d, nil)
	flaky := s.ids()[0]
	for i := range 24 * 60 {
		if s.failed(flaky, start.Add(time.Duration(i)*time.Minute)) {
			t.Fatal("a vanguard that answers every half hour was given up")
		}
		if i%30 == 0 {
			s.succeeded(flaky)
		}
	}
	if s.failed(identity.NodeID{9}, start) {
		t.Fatal("a node outside the set was given up")
	}
}
