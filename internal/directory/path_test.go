package directory_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

// randomDirectory draws a directory with few operators and few networks, so
// that conflicts are common.
func randomDirectory(t *rapid.T) *directory.Directory {
	count := rapid.IntRange(1, 12).Draw(t, "nodes")
	g := directory.Genesis{Name: "random", Created: created}
	for i := range count {
		n := directory.Node{
			ID:       identity.NodeID{byte(i + 1)},
			Operator: fmt.Sprintf("op-%d", rapid.IntRange(1, 8).Draw(t, "operator")),
			OnionKey: suite.DHPublic{byte(i + 1)},
			Swarm:    directory.SwarmID(i % 3),
		}
		block := byte(rapid.IntRange(1, 8).Draw(t, "block"))
		addr := netip.AddrFrom4([4]byte{10, block, 0, byte(i + 1)})
		if rapid.Bool().Draw(t, "ipv6") {
			addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0, block, 15: byte(i + 1)})
		}
		n.Addr = netip.AddrPortFrom(addr, 4433)
		g.Nodes = append(g.Nodes, n)
	}
	key, err := suite.NewSigningKey(stream(4))
	if err != nil {
		t.Fatal(err)
	}
	n, err := directory.SignGenesis(key, g)
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// allowed says by the rules alone whether m and e complete a path.
func allowed(d *directory.Directory, req directory.PathRequest, m, e directory.Node) bool {
	guard, _ := d.Node(req.Guard)
	target, hasTarget := d.Node(req.Target)
	if directory.Conflict(m, e) || directory.Conflict(m, guard) || directory.Conflict(e, guard) {
		return false
	}
	if hasTarget && (directory.Conflict(m, target) || directory.Conflict(e, target)) {
		return false
	}
	for _, id := range req.Avoid {
		if m.ID == id || e.ID == id {
			return false
		}
	}
	for _, id := range req.AvoidExits {
		if n, ok := d.Node(id); ok && directory.Conflict(e, n) {
			return false
		}
	}
	return true
}

func TestPathsObeyTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := randomDirectory(t)
		nodes := d.Nodes()
		pick := func(name string) identity.NodeID { return rapid.SampledFrom(nodes).Draw(t, name).ID }
		req := directory.PathRequest{Guard: pick("guard")}
		if rapid.Bool().Draw(t, "has target") {
			req.Target = pick("target")
		}
		for range rapid.IntRange(0, 2).Draw(t, "avoided") {
			req.Avoid = append(req.Avoid, pick("avoid"))
			req.AvoidExits = append(req.AvoidExits, pick("avoid exit"))
		}
		possible := 0
		for _, m := range nodes {
			for _, e := range nodes {
				if allowed(d, req, m, e) {
					possible++
				}
			}
		}
		path, err := d.ChoosePath(stream(rapid.Byte().Draw(t, "seed")), req)
		guard, _ := d.Node(req.Guard)
		target, hasTarget := d.Node(req.Target)
		switch {
		case hasTarget && directory.Conflict(guard, target):
			if !errors.Is(err, directory.ErrGuardConflict) {
				t.Fatalf("guard conflicts with target, got %v", err)
			}
		case possible == 0:
			if !errors.Is(err, directory.ErrTooSmall) {
				t.Fatalf("no path is possible, got %v", err)
			}
		case err != nil:
			t.Fatalf("%d paths are possible, got %v", possible, err)
		case path.Guard != guard || !allowed(d, req, path.Middle, path.Exit):
			t.Fatalf("path breaks the rules: %v", path)
		}
	})
}

// Every allowed pair is chosen about as often as any other, by trial and by
// enumeration.
func TestPathsAreUniform(t *testing.T) {
	d := verified(t, local(t, 8, 5))
	req := directory.PathRequest{Guard: d.Nodes()[0].ID, Target: d.Nodes()[1].ID}
	counts := make(map[[2]identity.NodeID]int)
	rand := stream(5)
	const rounds = 3000
	for range rounds {
		p, err := d.ChoosePath(rand, req)
		if err != nil {
			t.Fatal(err)
		}
		counts[[2]identity.NodeID{p.Middle.ID, p.Exit.ID}]++
	}
	const pairs = 6 * 5
	if len(counts) != pairs {
		t.Fatalf("%d pairs chosen, want %d", len(counts), pairs)
	}
	for _, n := range counts {
		if n < rounds/pairs/2 || n > rounds/pairs*2 {
			t.Fatalf("a pair was chosen %d times, about %d expected", n, rounds/pairs)
		}
	}
}

func TestTooSmallSaysWhatIsMissing(t *testing.T) {
	for _, tc := range []struct {
		nodes int
		want  string
	}{
		{1, "directory: network too small for a path: of 1 nodes none is left for a middle (apart from the guard by operator and network; 0 avoided)"},
		{2, "directory: network too small for a path: of 2 nodes none is left for a middle that differs from every possible exit (apart from the guard by operator and network; 0 avoided)"},
	} {
		d := verified(t, local(t, tc.nodes, 5))
		_, err := d.ChoosePath(stream(6), directory.PathRequest{Guard: d.Nodes()[0].ID})
		if !errors.Is(err, directory.ErrTooSmall) || err.Error() != tc.want {
			t.Errorf("got %v", err)
		}
	}
}

func TestPathNeedsRandomness(t *testing.T) {
	d := verified(t, local(t, 8, 5))
	_, err := d.ChoosePath(failing{}, directory.PathRequest{Guard: d.Nodes()[0].ID})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v", err)
	}
	if _, err := d.ChoosePath(stream(7), directory.PathRequest{Guard: identity.NodeID{1}}); !errors.Is(err, directory.ErrUnknownNode) {
		t.Fatalf("got %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func BenchmarkChoosePath(b *testing.B) {
	d := verified(b, local(b, 250, 5))
	req := directory.PathRequest{Guard: d.Nodes()[0].ID, Target: d.Nodes()[1].ID}
	rand := stream(8)
	for b.Loop() {
		if _, err := d.ChoosePath(rand, req); err != nil {
			b.Fatal(err)
		}
	}
}
