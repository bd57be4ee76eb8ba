package testnet

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is a node's process, for tests that start this binary with the
// arguments of a node (processes.go).
func TestMain(m *testing.M) {
	if len(os.Args) >= 5 && os.Args[1] == "node" && os.Args[2] == "run" {
		os.Exit(runNode(os.Args[4]))
	}
	goleak.VerifyTestMain(m)
}

// start runs a network of the given size in a folder of the test.
func start(t *testing.T, nodes, swarm int, cfg Config) *Network {
	t.Helper()
	l, err := Prepare(t.TempDir(), nodes, swarm)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Start(l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNetworkStopsAndStartsAgain(t *testing.T) {
	n := start(t, 5, 5, Config{Metrics: true})
	if err := n.StopNode(2); err != nil {
		t.Fatal(err)
	}
	if err := n.StartNode(2); err != nil {
		t.Fatal(err)
	}
	if err := n.StartNode(2); err == nil {
		t.Fatal("a running node was started twice")
	}
	again, err := Prepare(n.Layout().Dir, 5, 5)
	if err != nil {
		t.Fatal(err)
	}
	if again.Network.Key != n.Layout().Network.Key || again.Nodes[4].Node.ID != n.Layout().Nodes[4].Node.ID {
		t.Error("the network found on disk is another")
	}
	if _, err := Prepare(n.Layout().Dir, 7, 5); err == nil {
		t.Error("a network of another size was accepted")
	}
}
