// Package bench measures the program's parts on this machine, each beside a
// baseline of the same run where there is one, so that figures from different
// machines can be compared by their ratios (docs/benchmarks.md).
//
// It is what `sotto bench` prints. It asserts nothing: no test fails because a
// machine is slow.
package bench

import (
	"context"
	"fmt"
	"slices"
)

// Figure is one measured number. Names and units are stable, so that figures
// can be compared over time.
type Figure struct {
	Bench string  `json:"bench"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // ns, us, ms, bytes, 1/s, bytes/s, s/GB, allocs, ratio

	Baseline      string  `json:"baseline,omitempty"`
	BaselineValue float64 `json:"baseline_value,omitempty"`
	Ratio         float64 `json:"ratio,omitempty"` // Value over BaselineValue
}

// against returns f beside a baseline of the same run.
func (f Figure) against(name string, value float64) Figure {
	f.Baseline, f.BaselineValue = name, value
	if value != 0 {
		f.Ratio = f.Value / value
	}
	return f
}

// String returns the figure for a person.
func (f Figure) String() string {
	s := fmt.Sprintf("%-9s %-24s %16.3f %s", f.Bench, f.Name, f.Value, f.Unit)
	if f.Baseline != "" {
		s += fmt.Sprintf("   (%s %.3f, ratio %.2f)", f.Baseline, f.BaselineValue, f.Ratio)
	}
	return s
}

// Run is what a benchmark is given.
type Run struct {
	// Dir is an empty folder for files, on the disk that is to be measured.
	Dir string
	// Emit takes each figure as it is known.
	Emit func(Figure) error
	// Note tells a person what is being done.
	Note func(format string, a ...any)
	// Subscriptions is how many the store's benchmark sets up; 0 is as many as
	// take less than a minute, and what they cost clients and exits is left out.
	Subscriptions int
}

// emit hands over figures until one is not taken.
func (r Run) emit(figures ...Figure) error {
	for _, f := range figures {
		if err := r.Emit(f); err != nil {
			return err
		}
	}
	return nil
}

// Benchmark is one of All.
type Benchmark struct {
	Name  string
	Short string
	Run   func(context.Context, Run) error
}

// All lists the benchmarks in the order of the way a message goes.
var All = []Benchmark{
	{"cells", "encrypt cells for one hop and for three", cells},
	{"circuit", "carry bytes and echoes through three relays", circuits},
	{"delivery", "send messages between two accounts until they are shown", delivery},
	{"store", "put, fetch and push envelopes, and hold subscriptions", stores},
	{"ratchet", "encrypt and decrypt messages of a session", ratchets},
	{"padding", "send what cover traffic is made of, and count its bytes", paddings},
	{"idle", "hold still, and weigh the processes", idle},
}

// Named returns the benchmark of that name.
func Named(name string) (Benchmark, bool) {
	i := slices.IndexFunc(All, func(b Benchmark) bool { return b.Name == name })
	if i < 0 {
		return Benchmark{}, false
	}
	return All[i], true
}
