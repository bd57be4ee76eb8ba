//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sotto/internal/api"
	"sotto/internal/chaos"
	"sotto/internal/node"
)

// TestChaos lets real nodes and daemons be killed, stopped and cut off for some
// seconds while they send, and then accounts for every message. The long run is
// `sotto testnet chaos` (docs/chaos.md). The seed's schedule has every fault.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program with the tag chaos, and kills processes of a network of 10")
	}
	program := filepath.Join(t.TempDir(), "sotto")
	if out, err := exec.Command("go", "build", "-tags", "chaos", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	cmd := exec.Command(program, "testnet", "chaos", "--json", "--brief", "--dir", dir, "--duration", "15s", "--accounts", "3", "--seed", "365")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var r chaos.Report
	if parse := json.Unmarshal(out, &r); parse != nil {
		t.Fatalf("%v; the run ended with %v and printed %q", parse, err, out)
	}
	t.Logf("\n%s", &r)
	if err != nil || !r.Good() {
		t.Errorf("the run ended with %v", err)
	}
	if r.Messages.Delivered == 0 || r.Puts.Acknowledged == 0 || r.Puts.Deleted == 0 || r.Majorities == 0 {
		t.Error("nothing happened")
	}
	for _, f := range chaos.Faults {
		if r.Faults[f] == 0 {
			t.Errorf("nobody was %s", f)
		}
	}
	left(t, dir)
}

// left fails for each process of the run that still lives.
func left(t *testing.T, dir string) {
	t.Helper()
	nodes, err := filepath.Glob(filepath.Join(dir, "network", "node-*"))
	if err != nil || len(nodes) == 0 {
		t.Fatalf("no nodes' folders: %v", err)
	}
	var pids []int
	for _, n := range nodes {
		info, err := node.ReadRunInfo(n)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, info.PID)
	}
	profiles, err := filepath.Glob(filepath.Join(dir, "account-*"))
	if err != nil || len(profiles) == 0 {
		t.Fatalf("no profiles: %v", err)
	}
	for _, p := range profiles {
		e, err := api.ReadEndpointFile(p) // which a killed daemon leaves
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, e.PID)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d still lives: %v", pid, err)
		}
	}
}

// TestChaosNeedsItsBuild: a normal build says how to get one that can.
func TestChaosNeedsItsBuild(t *testing.T) {
	out, err := exec.Command(programPath(t), "testnet", "chaos", "--duration", "2m").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "go run -tags chaos") {
		t.Errorf("%v: %s", err, out)
	}
}
