package api_test

import (
	"testing"

	"sotto/internal/api"
	"sotto/internal/padding"
)

func TestCover(t *testing.T) {
	alice := account(t, newNet(), "alice")
	a := alice.must("GET", "/cover", "")
	levels := a.list("levels")
	if a.str("level") != "standard" || len(levels) != len(padding.Levels) {
		t.Fatalf("at first: %s", a.raw)
	}
	last := 0.0
	for _, l := range levels {
		cost := l.(map[string]any)["mb_per_day"].(float64)
		if cost < max(last, 1) {
			t.Errorf("levels are not in the order of what they cost: %s", a.raw)
		}
		last = cost
	}
	if got := alice.must("PATCH", "/cover", `{"level":"high"}`).str("level"); got != "high" {
		t.Errorf("set to high: %q", got)
	}
	if status, a := alice.call("PATCH", "/cover", `{"level":"most"}`); status != 400 || a.code() != api.CodeCover {
		t.Errorf("a level that does not exist: %d %s", status, a.raw)
	}
	if got := alice.must("GET", "/cover", "").str("level"); got != "high" {
		t.Errorf("after a refusal: %q", got)
	}
	alice.must("POST", "/chatting", "")
	if n := alice.client().Chatted(); n != 1 {
		t.Errorf("typing was noticed %d times", n)
	}
}
