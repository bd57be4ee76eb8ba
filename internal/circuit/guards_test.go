package circuit

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testDirectory(t testing.TB, nodes int) *directory.Directory {
	t.Helper()
	n, _, err := directory.Local(directory.LocalConfig{Nodes: nodes, Port: 1, Created: start, Rand: testRand(1)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testRand(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func sampled(t testing.TB, d *directory.Directory) *guardSet {
	t.Helper()
	s := &guardSet{}
	changed, err := s.refresh(testRand(2), start, d)
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	return s
}

func TestSampleIsKeptAndRenewed(t *testing.T) {
	d := testDirectory(t, 100)
	s := sampled(t, d)
	if len(s.list) != sampleSize {
		t.Fatalf("%d guards, want %d", len(s.list), sampleSize)
	}
	first := encodeGuards(s, &vanguardSet{})
	if changed, _ := s.refresh(testRand(3), start.Add(guardLife-time.Hour), d); changed {
		t.Fatal("the sample changed within its life")
	}
	if !bytes.Equal(first, encodeGuards(s, &vanguardSet{})) {
		t.Fatal("the stored form changed")
	}
	later := start.Add(guardLife + guardSpread)
	if changed, _ := s.refresh(testRand(3), later, d); !changed || len(s.list) != sampleSize {
		t.Fatalf("after its life the sample has %d guards", len(s.list))
	}
	for _, g := range s.list {
		if g.added != later {
			t.Fatal("an expired guard is kept")
		}
	}
}

func TestGuardsThatLeaveAreReplacedWithinBounds(t *testing.T) {
	s := sampled(t, testDirectory(t, 40))
	for range 10 { // each time a network of new nodes
		n, _, err := directory.Local(directory.LocalConfig{Nodes: 40, Port: 1, Created: start, Rand: testRand(byte(len(s.list)))})
		if err != nil {
			t.Fatal(err)
		}
		d, err := n.Directory()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.refresh(testRand(4), start, d); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.list) > maxSample {
		t.Fatalf("%d guards, at most %d", len(s.list), maxSample)
	}
}

// aside lists the guards that are left alone at now, by their place.
func aside(s *guardSet, now time.Time) (out []int) {
	for i, g := range s.list {
		if now.Before(g.retryAt) {
			out = append(out, i)
		}
	}
	return out
}

func TestRolesAfterFailures(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	inUse, spare, ok := s.roles(start, d)
	if !ok || inUse.ID != s.list[0].id || spare.ID != s.list[1].id || directory.Conflict(inUse, spare) {
		t.Fatalf("in use %v, spare %v", inUse, spare)
	}
	if s.failed(inUse.ID, start, d, false, true) {
		t.Fatal("one guard's silence is taken for an outage although another stands")
	}
	if got, _, _ := s.roles(start, d); got.ID != spare.ID {
		t.Fatal("the spare did not take over")
	}
	// Another failure of the same moment counts once.
	s.failed(inUse.ID, start, d, false, true)
	s.succeeded(spare.ID, start.Add(time.Second))
	if got, _, _ := s.roles(start.Add(guardRetryMin), d); got.ID != inUse.ID {
		t.Fatal("the first guard did not come back")
	}
	if n := s.list[0].failures; n != 1 {
		t.Fatalf("%d failures were counted, want 1", n)
	}
}

// A guard that comes and goes is left alone longer each time, and until it has
// been steady for a while.
func TestFlakyGuard(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	flaky, other := s.list[0], s.list[1]
	now := start
	want := guardRetryMin
	for range 9 {
		s.failed(flaky.id, now, d, false, true)
		s.succeeded(other.id, now.Add(time.Second))
		if got := flaky.retryAt.Sub(now); got != want {
			t.Fatalf("left alone for %v, want %v", got, want)
		}
		want = min(2*want, guardRetryMax)
		now = flaky.retryAt
		s.succeeded(flaky.id, now) // it answers, for a moment
		if len(aside(s, now)) != 0 {
			t.Fatal("a guard that answered is aside")
		}
		now = now.Add(time.Second)
	}
	now = now.Add(guardSteady)
	s.succeeded(flaky.id, now)
	s.failed(flaky.id, now, d, false, true)
	s.succeeded(other.id, now)
	if got := flaky.retryAt.Sub(now); got != guardRetryMin {
		t.Fatalf("after a steady time left alone for %v", got)
	}
}

// When no guard answers, that is our own connection's failure: nobody is
// punished, few guards are shown our attempts, and an answer ends it at once.
func TestSilenceOfAllIsOurOwn(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	if s.failed(s.list[0].id, start, d, false, false) {
		t.Fatal("one guard's silence is an outage")
	}
	if !s.failed(s.list[1].id, start.Add(time.Second), d, false, false) {
		t.Fatal("two guards are silent, and that is no outage")
	}
	if s.failed(s.list[2].id, start.Add(time.Second), d, false, false) {
		t.Fatal("the outage was noticed twice")
	}
	for age, most := range map[time.Duration]int{0: 3, widenEvery - 1: 3, widenEvery: 4, 5 * widenEvery: 8, time.Hour: sampleSize} {
		if got := len(s.usable(s.offline.Add(age), d)); got > most {
			t.Errorf("after %v without an answer %d guards are tried, at most %d", age, got, most)
		}
	}
	if !s.succeeded(s.list[7].id, start.Add(time.Minute)) {
		t.Fatal("the end of the outage was not noticed")
	}
	if got := aside(s, start.Add(time.Minute)); len(got) != 0 {
		t.Fatalf("after an outage guards %v are aside", got)
	}
	for i, g := range s.list {
		if g.failures != 0 {
			t.Errorf("an outage was counted against guard %d", i)
		}
	}
	// Those that are really gone fail again, and now that is theirs.
	now := start.Add(time.Minute)
	for i := range primaryCount {
		s.failed(s.list[i].id, now.Add(time.Second), d, false, true)
	}
	s.succeeded(s.list[7].id, now.Add(2*time.Second))
	if got := aside(s, now.Add(2*time.Second)); len(got) != primaryCount {
		t.Fatalf("aside are %v, want the dead primary guards", got)
	}
}

// A short failure of our own that guards noticed one after the other is not
// held against the first when the second, which failed later, answers again.
func TestBriefOutage(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	s.failed(s.list[0].id, start, d, false, true)
	s.failed(s.list[1].id, start.Add(400*time.Millisecond), d, false, true)
	s.succeeded(s.list[1].id, start.Add(time.Second))
	if g := s.list[0]; g.failures != 0 || start.Add(time.Second).Before(g.retryAt) {
		t.Fatalf("guard 0 has %d failures and is aside until %v", g.failures, g.retryAt)
	}
	// Nor is one that another's answer follows only much later.
	s.failed(s.list[0].id, start.Add(time.Minute), d, false, true)
	s.succeeded(s.list[3].id, start.Add(time.Minute+confirmWithin+1))
	if s.list[0].failures != 0 {
		t.Fatal("a late answer of another guard was taken for proof")
	}
}

// A guard's failure that a circuit over another guard outlives is its own; while
// nothing stands beside it, nothing is known.
func TestOutlivedFailure(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	stands := func(beside bool) func(identity.NodeID) bool {
		return func(identity.NodeID) bool { return beside }
	}
	s.failed(s.list[0].id, start, d, false, true)
	if next := s.judge(start, stands(true)); next != judgeAfter || s.list[0].failures != 0 {
		t.Fatalf("judged at once, or to be judged in %v", next)
	}
	if s.judge(start.Add(judgeAfter), stands(false)); s.list[0].failures != 0 {
		t.Fatal("judged without a witness")
	}
	for range 2 {
		s.judge(start.Add(judgeAfter), stands(true))
	}
	if g := s.list[0]; g.failures != 1 || g.silent {
		t.Fatalf("%d failures were counted, want 1", g.failures)
	}
}

// What our own socket cannot send says nothing of the guard.
func TestOwnSocketFails(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	s.failed(s.list[0].id, start, d, true, false)
	if !s.failed(s.list[1].id, start, d, true, false) {
		t.Fatal("our own socket's failure is no outage")
	}
	s.succeeded(s.list[2].id, start)
	s.failed(s.list[0].id, start.Add(time.Minute), d, true, true) // an IPv6 guard without IPv6, say
	s.succeeded(s.list[2].id, start.Add(time.Minute))
	if s.list[0].failures != 0 {
		t.Fatal("counted against the guard")
	}
	if got := aside(s, start.Add(time.Minute)); len(got) != 1 || got[0] != 0 {
		t.Fatalf("aside are %v, want the guard that cannot be sent to", got)
	}
}

func TestEveryGuardAside(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	for _, g := range s.list {
		s.failed(g.id, start, d, false, true)
	}
	if len(s.usable(start, d)) != len(s.list) {
		t.Fatal("with every guard aside none is tried")
	}
}

func TestBiasedGuardIsDropped(t *testing.T) {
	d := testDirectory(t, 30)
	for name, tc := range map[string]struct {
		count  func(*guardSet, identity.NodeID, bool) verdict
		sample int
		bad    int // one in so many succeeds
	}{
		"building": {(*guardSet).countBuilt, builtSample, 5},
		"use":      {(*guardSet).countServed, servedSample, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := sampled(t, d)
			biased, honest := s.list[0].id, s.list[1].id
			seen := make(map[verdict]int)
			for i := range 20 * tc.sample {
				v := tc.count(s, biased, i%tc.bad == 0)
				seen[v]++
				if v != unchanged && i+1 < tc.sample {
					t.Fatalf("judged after %d circuits", i+1)
				}
				if v := tc.count(s, honest, i%5 != 0); v != unchanged {
					t.Fatalf("a guard through which a fifth fails: %v", v)
				}
			}
			if seen[suspected] != 1 || seen[doubted] > 1 {
				t.Fatalf("verdicts: %v", seen)
			}
			for _, n := range s.usable(start, d) {
				if n.ID == biased {
					t.Fatal("the biased guard is still usable")
				}
			}
			back, _, err := parseGuards(encodeGuards(s, &vanguardSet{}))
			if err != nil || !back.find(biased).bias.suspect() || back.find(honest).bias.suspect() {
				t.Fatalf("forgotten over a restart: %v", err)
			}
		})
	}
}

// A client whose own connection made every guard a suspect is not cut off.
func TestAllSuspectsAreStillGuards(t *testing.T) {
	d := testDirectory(t, 5)
	s := sampled(t, d)
	for i, g := range s.list {
		for range builtSample {
			s.countBuilt(g.id, false)
		}
		want := len(s.list) - i - 1
		if want == 0 {
			want = len(s.list)
		}
		if got := len(s.usable(start, d)); got != want {
			t.Fatalf("with %d suspects of %d %d guards are used", i+1, len(s.list), got)
		}
	}
}

// Between the two thresholds a guard is used, and its owner is told once.
func TestDoubtfulGuardIsSaid(t *testing.T) {
	s := sampled(t, testDirectory(t, 30))
	told := 0
	for i := range 10 * servedSample {
		switch s.countServed(s.list[0].id, i%5 < 3) { // 60 %
		case doubted:
			told++
		case suspected:
			t.Fatal("dropped above the threshold")
		}
	}
	if told != 1 {
		t.Fatalf("told %d times", told)
	}
}
