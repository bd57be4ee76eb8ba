package chaos

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

var (
	testSwarms  = [][]int{{1, 3, 5, 7, 9}, {2, 4, 6, 8, 10}}
	testJoiners = []Joiner{{11, 30 * time.Second}, {12, 50 * time.Second}, {13, 50 * time.Second}}
)

func TestPlanFollowsFromItsSeed(t *testing.T) {
	a, b := Plan(7, time.Hour, testSwarms, testJoiners, 4), Plan(7, time.Hour, testSwarms, testJoiners, 4)
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed gives two schedules")
	}
	if reflect.DeepEqual(a, Plan(8, time.Hour, testSwarms, testJoiners, 4)) {
		t.Error("two seeds give one schedule")
	}
}

// TestPlanIsBearable: at any time a swarm has a majority, unless a step says
// that it is to have none; no node has two faults at a time; all end in time;
// two minutes hold every kind.
func TestPlanIsBearable(t *testing.T) {
	for seed := range uint64(50) {
		const d = 2 * time.Minute
		steps := Plan(seed, d, testSwarms, testJoiners, 4)
		seen := make(map[Fault]int)
		for _, s := range steps {
			seen[s.Fault]++
			if s.At < 0 || s.For <= 0 || s.At+s.For > d {
				t.Fatalf("seed %d: %+v does not end in time", seed, s)
			}
			if down, willed := away(steps, s.At); down > 2 && !willed {
				t.Fatalf("seed %d: %d members are away at %v", seed, down, s.At)
			}
			for _, o := range steps {
				if !reflect.DeepEqual(o, s) && ofNode(o.Fault) && ofNode(s.Fault) && o.At <= s.At && s.At < o.At+o.For &&
					slices.ContainsFunc(o.Targets, func(n int) bool { return slices.Contains(s.Targets, n) }) {
					t.Fatalf("seed %d: %+v and %+v at a time", seed, o, s)
				}
			}
		}
		suffered := make(map[int]bool)
		for _, s := range steps {
			for _, j := range testJoiners {
				if slices.Contains(s.Targets, j.Node) && ofNode(s.Fault) {
					suffered[j.Node] = true
					if s.At < j.At {
						t.Errorf("seed %d: %+v befalls a node before it joins", seed, s)
					}
				}
			}
		}
		if len(suffered) != len(testJoiners) {
			t.Errorf("seed %d: of the nodes that join only %v have faults", seed, suffered)
		}
		for _, f := range Faults {
			if seen[f] == 0 {
				t.Errorf("seed %d: nobody is %s", seed, f)
			}
		}
	}
}

func ofNode(f Fault) bool { return f != Clock && f != KillClient && f != StopClient }

// away is the most members that one swarm lacks at a time, and whether it is
// meant to have no majority.
func away(steps []Step, at time.Duration) (most int, willed bool) {
	for _, members := range testSwarms {
		down := 0
		for _, s := range steps {
			if !ofNode(s.Fault) || at < s.At || at >= s.At+s.For || !slices.Contains(members, s.Targets[0]) {
				continue
			}
			down += len(s.Targets)
			willed = willed || s.Majority
		}
		most = max(most, down)
	}
	return most, willed
}
