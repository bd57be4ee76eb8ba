package node

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestStatus(t *testing.T) {
	dir, ctx := newDir(t), context.Background()
	if st, err := ReadStatus(ctx, dir); err != nil || st.Running || st.State != "stopped" || len(st.Advice) != 1 {
		t.Errorf("before the first start: %+v, %v", st, err)
	}
	n, err := Start(Config{Dir: dir, Metrics: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	st, err := ReadStatus(ctx, dir)
	if err != nil || !st.Running || st.State != "serving" || st.FreeBytes == 0 || len(st.Advice) != 0 {
		t.Errorf("while it serves: %+v, %v", st, err)
	}
	n.metrics.failed.Store(true)
	if st, err := ReadStatus(ctx, dir); err != nil || st.State != "failed" || len(st.Advice) == 0 {
		t.Errorf("after a failure: %+v, %v", st, err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if st, err := ReadStatus(ctx, dir); err != nil || st.Running || st.State != "stopped" {
		t.Errorf("after its end: %+v, %v", st, err)
	}
	// Another node has its address by now.
	info, err := ReadRunInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Start(Config{Dir: newDir(t), Metrics: info.Metrics})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := ReadStatus(ctx, dir); err != nil || st.Running || st.State != "stopped" || !strings.Contains(st.Advice[0], "another process answers") {
		t.Errorf("while another node answers: %+v, %v", st, err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestStatusReadsFigures: sums, quantiles and what to do come from the page.
func TestStatusReadsFigures(t *testing.T) {
	st := Status{Refused: map[string]uint64{}, Other: map[string]float64{}}
	st.read(`# HELP x y
sotto_swarm_requests_total{outcome="busy",request="put"} 3
sotto_swarm_requests_total{outcome="ok",request="put"} 9
sotto_swarm_requests_total{outcome="busy",request="open"} 1
sotto_swarm_put_seconds_bucket{le="0.001"} 40
sotto_swarm_put_seconds_bucket{le="0.002"} 98
sotto_swarm_put_seconds_bucket{le="0.004"} 99
sotto_swarm_put_seconds_bucket{le="+Inf"} 100
sotto_swarm_put_seconds_count 100
sotto_swarm_members 4
sotto_swarm_members_away 3
sotto_swarm_stored_bytes 1.5e+06
sotto_swarm_store_low 1
sotto_swarm_hints 7
sotto_swarm_hints_waiting 8
sotto_swarm_moving_sources 2
sotto_swarm_moving_mailboxes 3
sotto_swarm_moving_bytes 4096
sotto_swarm_moving_counted 1
sotto_directory_serial 6
sotto_directory_listed 1
sotto_relay_circuits_open 5
nonsense
`)
	st.judge(true)
	if st.Refused["busy"] != 4 || len(st.Refused) != 1 || st.Puts != 100 || st.PutP50 != 0.002 || st.PutP99 != 0.004 ||
		st.StoredBytes != 1_500_000 || st.Circuits != 5 || st.Other["hints"] != 7 || st.State != "low" || len(st.Advice) != 2 {
		t.Errorf("%+v", st)
	}
	if want := (Moving{Serial: 6, Listed: true, Counted: true, Sources: 2, Mailboxes: 3, Bytes: 4096}); st.Moving != want || st.HintsWaiting != 8 {
		t.Errorf("%+v, %d hints", st.Moving, st.HintsWaiting)
	}
}

// TestStatusOfOneThatLeft says when it may be switched off, and never before.
func TestStatusOfOneThatLeft(t *testing.T) {
	for page, off := range map[string]bool{
		"":                             false, // not counted yet
		"sotto_swarm_moving_counted 1": true,
		"sotto_swarm_moving_counted 1\nsotto_swarm_moving_mailboxes 1": false,
	} {
		st := Status{Refused: map[string]uint64{}, Other: map[string]float64{}}
		st.read(page + "\nsotto_directory_listed 0\n")
		st.judge(true)
		says := slices.ContainsFunc(st.Advice, func(a string) bool { return strings.Contains(a, "may be switched off") })
		if says != off || st.Moving.Finished() != off || len(st.Advice) != 1 {
			t.Errorf("%q: %q", page, st.Advice)
		}
	}
}

// TestStatusOfOneThatLacks: a store that is not the one which was here last is
// said to its operator.
func TestStatusOfOneThatLacks(t *testing.T) {
	st := Status{Refused: map[string]uint64{}, Other: map[string]float64{}}
	st.read("sotto_swarm_store_lacking 1\nsotto_directory_listed 1\n")
	st.judge(true)
	if st.State != "lacking" || len(st.Advice) != 1 || !strings.Contains(st.Advice[0], "not the one that was here last") {
		t.Errorf("%s: %q", st.State, st.Advice)
	}
}

// TestMetricsNameNobody: labels come from a list, and no value of one could be
// an address, a key or a host.
func TestMetricsNameNobody(t *testing.T) {
	dir := newDir(t)
	n, err := Start(Config{Dir: dir, Metrics: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, page := get(t, "http://"+n.MetricsAddr()+"/metrics")
	allowed := []string{"request", "outcome", "reason", "direction", "le", "kind", "state", "result"}
	word := regexp.MustCompile(`^[a-zA-Z ]{1,24}$`)
	seen := 0
	for _, line := range strings.Split(page, "\n") {
		name, labels, _, ok := parseSample(line)
		if !ok {
			continue
		}
		seen++
		if !strings.HasPrefix(name, "sotto_") {
			t.Errorf("a metric of another's: %s", name)
		}
		for label, value := range labels {
			if !slices.Contains(allowed, label) {
				t.Errorf("%s has the label %s", name, label)
			}
			if label != "le" && !word.MatchString(value) {
				t.Errorf("%s has %s=%q", name, label, value)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d figures", seen)
	}
}
