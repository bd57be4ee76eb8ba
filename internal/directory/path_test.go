package directory_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

// randomDirectory draws a directory, of few operators and networks more often
// than not, so that conflicts are common.
func randomDirectory(t *rapid.T) *directory.Directory {
	count := rapid.IntRange(1, 12).Draw(t, "nodes")
	operators := rapid.IntRange(1, 12).Draw(t, "operators")
	blocks := rapid.IntRange(1, 12).Draw(t, "blocks")
	g := directory.Document{Name: "random", Created: created}
	for i := range count {
		n := directory.Node{
			ID:       identity.NodeID{byte(i + 1)},
			Operator: fmt.Sprintf("op-%d", rapid.IntRange(1, operators).Draw(t, "operator")),
			OnionKey: suite.DHPublic{byte(i + 1)},
			Swarm:    directory.SwarmID(i % 3),
		}
		block := byte(rapid.IntRange(1, blocks).Draw(t, "block"))
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
	n, err := directory.SignDocument(key, g)
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
	if req.Middles != nil && !slices.Contains(req.Middles, m.ID) {
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
		if rapid.Bool().Draw(t, "has middles") {
			req.Middles = []identity.NodeID{{255}} // one that is not listed
			for range rapid.IntRange(0, 4).Draw(t, "middles") {
				req.Middles = append(req.Middles, pick("middle"))
			}
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

// Every allowed pair is chosen about as often as any other: by trial in a
// network where most pairs are allowed, by enumeration where few are, and with
// middles from a set.
func TestPathsAreUniform(t *testing.T) {
	eight := verified(t, local(t, 8, 5))
	id := func(i int) identity.NodeID { return eight.Nodes()[i].ID }
	sparse := oneOperatorBut(t, 400, 5) // of 160,000 pairs, 12 are allowed
	for name, tc := range map[string]struct {
		d     *directory.Directory
		req   directory.PathRequest
		pairs int
	}{
		"trial":       {eight, directory.PathRequest{Guard: id(0), Target: id(1)}, 6 * 5},
		"enumeration": {sparse, directory.PathRequest{Guard: sparse.Nodes()[0].ID, Target: sparse.Nodes()[1].ID}, 4 * 3},
		"from a set":  {eight, directory.PathRequest{Guard: id(0), Target: id(1), Middles: []identity.NodeID{id(2), id(3), id(1)}}, 2 * 5},
	} {
		t.Run(name, func(t *testing.T) {
			counts := make(map[[2]identity.NodeID]int)
			rand := stream(5)
			rounds := 100 * tc.pairs
			for range rounds {
				p, err := tc.d.ChoosePath(rand, tc.req)
				if err != nil {
					t.Fatal(err)
				}
				counts[[2]identity.NodeID{p.Middle.ID, p.Exit.ID}]++
			}
			if len(counts) != tc.pairs {
				t.Fatalf("%d pairs chosen, want %d", len(counts), tc.pairs)
			}
			chi := 0.0
			expected := float64(rounds) / float64(tc.pairs)
			for _, n := range counts {
				chi += (float64(n) - expected) * (float64(n) - expected) / expected
			}
			// Six standard deviations above the mean of a uniform choice.
			free := float64(tc.pairs - 1)
			if bound := free + 6*math.Sqrt(2*free); chi > bound {
				t.Fatalf("chi-square %.1f over %d pairs, at most %.1f", chi, tc.pairs, bound)
			}
		})
	}
}

// oneOperatorBut makes a directory whose nodes belong to one operator, but for
// the target, which is the second, and others.
func oneOperatorBut(t *testing.T, nodes, others int) *directory.Directory {
	t.Helper()
	g := directory.Document{Name: "sparse", Created: created}
	for i := range nodes {
		n := directory.Node{
			ID: identity.NodeID{byte(i >> 8), byte(i), 1}, OnionKey: suite.DHPublic{byte(i >> 8), byte(i), 1},
			Operator: "most", Swarm: directory.SwarmID(i / 5),
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10 + byte(i>>8), byte(i), 0, 1}), 4433),
		}
		if i > 0 && i <= others {
			n.Operator = fmt.Sprintf("op-%d", i)
		}
		g.Nodes = append(g.Nodes, n)
	}
	key, err := suite.NewSigningKey(stream(4))
	if err != nil {
		t.Fatal(err)
	}
	n, err := directory.SignDocument(key, g)
	if err != nil {
		t.Fatal(err)
	}
	return verified(t, n)
}

// Conflicts are judged by the address that packets go to, however it is written.
func TestConflict(t *testing.T) {
	node := func(id byte, operator, addr string) directory.Node {
		return directory.Node{ID: identity.NodeID{id}, Operator: operator, Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 1)}
	}
	a := node(1, "a", "192.0.2.1")
	six := node(1, "a", "2001:db8:1::1")
	for name, tc := range map[string]struct {
		a, b directory.Node
		want bool
	}{
		"itself":                 {a, node(1, "b", "198.51.100.1"), true},
		"operator":               {a, node(2, "a", "198.51.100.1"), true},
		"one /16":                {a, node(2, "b", "192.0.255.9"), true},
		"neighbouring /16":       {a, node(2, "b", "192.1.2.1"), false},
		"IPv4 written as IPv6":   {a, node(2, "b", "::ffff:192.0.7.7"), true},
		"another, as IPv6":       {a, node(2, "b", "::ffff:192.1.7.7"), false},
		"two as IPv6":            {node(1, "a", "::ffff:10.0.0.1"), node(2, "b", "::ffff:10.1.0.1"), false},
		"one /32":                {six, node(2, "b", "2001:db8:ffff::9"), true},
		"neighbouring /32":       {six, node(2, "b", "2001:db9:1::1"), false},
		"IPv4 and IPv6":          {a, node(2, "b", "2001:db8::1"), false},
		"the same bytes in both": {node(1, "a", "32.1.13.184"), node(2, "b", "2001:db8::"), false},
	} {
		if got := directory.Conflict(tc.a, tc.b); got != tc.want || directory.Conflict(tc.b, tc.a) != tc.want {
			t.Errorf("%s: conflict %v, want %v", name, got, tc.want)
		}
	}
}

func TestTooSmallSaysWhatIsMissing(t *testing.T) {
	one, two, many := verified(t, local(t, 1, 5)), verified(t, local(t, 2, 5)), oneOperatorBut(t, 30, 2)
	for _, tc := range []struct {
		d    *directory.Directory
		req  directory.PathRequest
		want string
	}{
		{one, directory.PathRequest{}, "of 1 nodes of 1 operators in 1 networks none is left for a middle (apart from the guard by operator and network; 0 avoided)"},
		{two, directory.PathRequest{}, "of 2 nodes of 2 operators in 2 networks none is left for a middle that differs from every possible exit (apart from the guard by operator and network; 0 avoided)"},
		{many, directory.PathRequest{Target: many.Nodes()[1].ID}, "of 30 nodes of 3 operators in 30 networks none is left for a middle that differs from every possible exit (apart from the guard and the target by operator and network; 0 avoided)"},
		{two, directory.PathRequest{Middles: []identity.NodeID{two.Nodes()[0].ID}}, "of 2 nodes of 2 operators in 2 networks none is left for a middle among 1 second-layer guards (apart from the guard by operator and network; 0 avoided)"},
	} {
		tc.req.Guard = tc.d.Nodes()[0].ID
		_, err := tc.d.ChoosePath(stream(6), tc.req)
		if want := "directory: network too small for a path: " + tc.want; !errors.Is(err, directory.ErrTooSmall) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
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
