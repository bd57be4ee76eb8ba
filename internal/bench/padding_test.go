package bench

import (
	"math"
	"testing"

	"sotto/internal/padding"
)

func TestPadding(t *testing.T) {
	got := collect(t, func(r Run) error { return measurePadding(t.Context(), r, 3, 3) })
	want := map[string]string{
		"keepalive": "bytes/s", "cell": "bytes", "put_train": "bytes", "push_train": "bytes", "active_chat_hour": "bytes",
	}
	for _, l := range padding.Levels {
		want[l.String()+"_day"] = "bytes"
	}
	check(t, got, "padding", want)
}

// The rate of link padding falls as other cells take its place.
func TestPaddingRate(t *testing.T) {
	idle := paddingRate(0)
	if mean := 1 / idle; math.Abs(mean-(1.5+8.0*8/15)) > 0.01 { // spec/padding.md §5.2
		t.Errorf("a silent link has a cell every %.3f s", mean)
	}
	if r := paddingRate(1e-6); math.Abs(r-idle) > 1e-3 {
		t.Errorf("the rate is %v beside hardly any other cells, and %v beside none", r, idle)
	}
	last := idle
	for _, others := range []float64{0.1, 0.5, 2, 10} {
		r := paddingRate(others)
		if r >= last || r < 0 {
			t.Errorf("%v cells of padding a second beside %v others, %v beside fewer", r, others, last)
		}
		last = r
	}
}
