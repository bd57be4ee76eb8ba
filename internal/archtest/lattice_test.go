package archtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lattice is the direction of imports. "a, b < c" lets c import a and b, and
// all that these may import. A package that stands nowhere here may not exist:
// whoever adds one says where it belongs. A package may stand here before it
// exists.
const lattice = `
	# Leaves, and the pure packages: bytes in, bytes out.
	NONE < wire < suite < identity;
	NONE < padding < onion;
	identity < onion, directory, mailbox, ratchet;
	ratchet < group;

	# What speaks to the network.
	onion, directory < link < relay, circuit;

	# A node: relay and storage.
	mailbox < swarm/store;
	swarm/store, link < swarm;
	swarm/store, directory < ledger;
	relay, swarm, ledger < node;

	# A client, and what shows it.
	identity < vault;
	circuit, mailbox, ratchet, group, vault < client;
	client < api < webui;
	api < api/apitest;

	# Whole networks in a process, measurements, the program.
	NONE < simnet;
	simnet, node, client < testnet;
	testnet, api < bench;
	NONE < faults;
	faults, testnet, api < chaos;
	faults, chaos, bench, testnet, webui < cmd/sotto;

	NONE < archtest;
`

// never is what no chain of imports may lead to, whatever the lattice says.
// These are security properties: a node cannot even link the code that reads
// messages.
const never = `
	ratchet, group, vault, client !< relay, swarm, swarm/store, ledger, node;
	relay, swarm, swarm/store, ledger, node !< client, api, webui;
`

type rule struct{ lower, upper []string }

// parseRules reads statements that end in semicolons; "a < b < c" is "a < b"
// and "b < c".
func parseRules(t *testing.T, text, relation string) []rule {
	t.Helper()
	var clean strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		clean.WriteString(line + " ")
	}
	var rules []rule
	for statement := range strings.SplitSeq(clean.String(), ";") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		levels := strings.Split(statement, relation)
		if len(levels) < 2 {
			t.Fatalf("no %q in %q", relation, statement)
		}
		for i := range len(levels) - 1 {
			rules = append(rules, rule{names(levels[i]), names(levels[i+1])})
		}
	}
	return rules
}

func names(list string) []string {
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "NONE" {
			out = append(out, name)
		}
	}
	return out
}

type graph map[string][]string

// reach lists everything that from leads to, with the path that leads there.
func (g graph) reach(from string) map[string]string {
	seen := map[string]string{}
	var visit func(at, path string)
	visit = func(at, path string) {
		for _, next := range g[at] {
			if _, ok := seen[next]; !ok {
				seen[next] = path + " → " + next
				visit(next, seen[next])
			}
		}
	}
	visit(from, from)
	return seen
}

func allowed(t *testing.T) graph {
	g := graph{}
	for _, r := range parseRules(t, lattice, "<") {
		for _, upper := range r.upper {
			g[upper] = append(g[upper], r.lower...)
		}
	}
	return g
}

func TestLattice(t *testing.T) {
	policy := allowed(t)
	for name := range policy {
		if path, cycle := policy.reach(name)[name]; cycle {
			t.Fatalf("the lattice goes in a circle: %s", path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages(t))) {
		if _, ok := policy[name]; !ok {
			t.Errorf("%s has no place in the lattice", name)
			continue
		}
		may := policy.reach(name)
		for _, used := range packages(t)[name].uses() {
			if _, ok := may[used]; !ok {
				t.Errorf("%s imports %s, which is not below it", name, used)
			}
		}
	}
}

func TestNever(t *testing.T) {
	real := graph{}
	for name, p := range packages(t) {
		real[name] = p.uses()
	}
	policy := allowed(t)
	for _, r := range parseRules(t, never, "!<") {
		for _, upper := range r.upper {
			for _, lower := range r.lower {
				if path, ok := real.reach(upper)[lower]; ok {
					t.Errorf("%s must never reach %s: %s", upper, lower, path)
				}
				if path, ok := policy.reach(upper)[lower]; ok {
					t.Errorf("the lattice itself lets %s reach %s: %s", upper, lower, path)
				}
			}
		}
	}
}

// The checks themselves find what they are for.
func TestLatticeFindsOffenders(t *testing.T) {
	policy := allowed(t)
	for _, offence := range []struct{ upper, lower string }{
		{"node", "ratchet"},
		{"swarm", "client"},
		{"relay", "vault"},
		{"ratchet", "mailbox"},
		{"wire", "suite"},
		{"client", "node"},
		{"circuit", "relay"},
		{"identity", "onion"},
	} {
		if _, ok := policy.reach(offence.upper)[offence.lower]; ok {
			t.Errorf("%s may import %s", offence.upper, offence.lower)
		}
	}
	real := graph{"node": {"swarm"}, "swarm": {"mailbox", "odd"}, "odd": {"ratchet"}}
	want := "node → swarm → odd → ratchet"
	if got := real.reach("node")["ratchet"]; got != want {
		t.Errorf("got path %q, want %q", got, want)
	}
	if fmt.Sprint(parseRules(t, "NONE < a, b < c; # d", "<")) != "[{[] [a b]} {[a b] [c]}]" {
		t.Error("rules read differently")
	}
}
