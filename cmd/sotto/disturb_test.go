package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestNoFaultsInNormalBuilds: what breaks clocks, networks and disks, and what
// drives it, is part of builds with the tag chaos only.
func TestNoFaultsInNormalBuilds(t *testing.T) {
	for _, name := range []string{"sotto/internal/faults", "sotto/internal/chaos"} {
		if slices.Contains(dependencies(t), name) {
			t.Errorf("a normal build contains %s", name)
		}
		if !slices.Contains(dependencies(t, "-tags", "chaos"), name) {
			t.Errorf("a build with the tag chaos lacks %s: this test looks for the wrong thing", name)
		}
	}
}

func dependencies(t *testing.T, flags ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append(append([]string{"list", "-deps"}, flags...), ".")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
