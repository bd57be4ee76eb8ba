package bench

import (
	"context"
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collect runs a measurement and returns its figures.
func collect(t *testing.T, measure func(Run) error) []Figure {
	t.Helper()
	var got []Figure
	err := measure(Run{
		Dir:  t.TempDir(),
		Emit: func(f Figure) error { got = append(got, f); return nil },
		Note: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// check compares what is promised of figures; no speed is asserted.
func check(t *testing.T, got []Figure, bench string, want map[string]string) {
	t.Helper()
	for _, f := range got {
		unit, ok := want[f.Name]
		if !ok || f.Bench != bench || f.Unit != unit {
			t.Errorf("unexpected figure %+v", f)
		}
		none := f.Value == 0 && f.Unit != "allocs"
		if none || f.Value < 0 || (f.Baseline != "") != (f.BaselineValue > 0) || (f.Baseline != "") != (f.Ratio > 0) {
			t.Errorf("figure without content: %+v", f)
		}
		delete(want, f.Name)
	}
	for name := range want {
		t.Errorf("no figure %s", name)
	}
}

func TestCells(t *testing.T) {
	got := collect(t, func(r Run) error { return measureCells(t.Context(), r, 3, 10) })
	check(t, got, "cells", map[string]string{
		"relay_forward": "ns", "client_originate_3hops": "ns", "relay_originate": "ns", "client_open_3hops": "ns",
		"relay_forward_allocs": "allocs", "client_originate_allocs": "allocs",
		"relay_originate_allocs": "allocs", "client_open_allocs": "allocs",
	})
}

func TestRatchet(t *testing.T) {
	got := collect(t, func(r Run) error { return measureRatchet(t.Context(), r, 3, 4) })
	check(t, got, "ratchet", map[string]string{
		"alternating": "us", "one_way": "us", "setup": "us", "overhead_bytes": "bytes",
	})
}

func TestStore(t *testing.T) {
	got := collect(t, func(r Run) error {
		return measureStore(t.Context(), r, storeSizes{
			streams: 4, boxes: 2, box: smallBox, rounds: 1, synced: 10 * time.Millisecond,
			puts: 20, putTime: time.Minute, paced: 100 * time.Millisecond, readers: 2, fetch: 100 * time.Millisecond, crowd: 8,
			subscribers: 5, pushRate: 100,
		})
	})
	want := map[string]string{
		"put_rate": "1/s", "put_p50_half_rate": "ms", "put_p99_half_rate": "ms",
		"push_p50": "ms", "push_p99": "ms", "fetch_rate": "1/s",
		"overload_goodput_ratio": "ratio", "overload_stored_ratio": "ratio", "overload_put_p99": "ms",
	}
	if runtime.GOOS == "linux" { // where a socket can be made deaf
		want["put_p95_quarter_rate"], want["put_p95_two_stopped_ratio"], want["put_p95_two_down_ratio"] = "ms", "ratio", "ratio"
	}
	check(t, got, "store", want)
}

func TestCatchUp(t *testing.T) {
	got := collect(t, func(r Run) error {
		return catchUp(t.Context(), r, catchUpSizes{common: 200, missing: 40, streams: 4})
	})
	check(t, got, "store", map[string]string{"catchup_bytes_ratio": "ratio", "equal_round_bytes": "bytes"})
	for _, f := range got {
		if f.Name == "catchup_bytes_ratio" && f.Value < 1 {
			t.Errorf("a member got %.2f times the bytes that it lacked", f.Value)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := cells(ctx, Run{Note: t.Logf})
	if err != context.Canceled {
		t.Fatalf("got %v", err)
	}
}

func TestFigureJSON(t *testing.T) {
	with := Figure{Bench: "cells", Name: "relay_forward", Value: 412, Unit: "ns"}.against("aes128gcm_seal", 206)
	for want, f := range map[string]Figure{
		`{"bench":"cells","name":"relay_forward","value":412,"unit":"ns","baseline":"aes128gcm_seal","baseline_value":206,"ratio":2}`: with,
		`{"bench":"store","name":"put_p99","value":1.5,"unit":"ms"}`:                                                                  {Bench: "store", Name: "put_p99", Value: 1.5, Unit: "ms"},
	} {
		got, err := json.Marshal(f)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
	if s := with.String(); !strings.Contains(s, "ratio 2.00") {
		t.Errorf("shown as %q", s)
	}
}

func TestNames(t *testing.T) {
	var names []string
	for _, b := range All {
		names = append(names, b.Name)
		if got, ok := Named(b.Name); !ok || got.Short != b.Short {
			t.Errorf("%s is not found by its name", b.Name)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(All) {
		t.Errorf("names are not unique: %v", names)
	}
	if _, ok := Named("nothing"); ok {
		t.Error("a benchmark that does not exist was found")
	}
}

// BenchmarkAll runs the benchmarks where the profiler can see them:
//
//	go test ./internal/bench -run '^$' -bench All/cells -benchtime 1x -cpuprofile cpu.out
func BenchmarkAll(b *testing.B) {
	for _, which := range All {
		b.Run(which.Name, func(b *testing.B) {
			for b.Loop() {
				err := which.Run(b.Context(), Run{
					Dir:  b.TempDir(),
					Emit: func(f Figure) error { b.ReportMetric(f.Value, f.Name+"-"+f.Unit); return nil },
					Note: b.Logf,
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestWeighed keeps a figure that was computed apart from one that was measured.
func TestWeighed(t *testing.T) {
	for count, name := range map[int]string{fullSubscriptions: "subscriptions_100k_bytes", 10_000: "subscriptions_100k_bytes_extrapolated"} {
		got := weighed(count, 40e6, 40e6+2000*float64(count))
		if len(got) != 2 || got[0].Value != 2000 || got[1].Name != name || got[1].Value != 240e6 {
			t.Errorf("%d subscriptions: %+v", count, got)
		}
	}
}
