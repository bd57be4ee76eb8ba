package testnet

import (
	"slices"
	"testing"

	"sotto/internal/client"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// tapped is two people who know one another, on a network whose every stream
// goes by a wiretap.
func tapped(t *testing.T) (w *wiretap, ada, ben *person) {
	t.Helper()
	e := newEntropy()
	n, w := startTapped(t, 15, 5, e)
	withEntropy := func(cfg *client.ProfileConfig) { cfg.Rand = e }
	ada = newPerson(t, n, "Ada Quillfeather", withEntropy)
	ben = newPerson(t, n, "Ben Thistlewood", withEntropy)
	befriend(t, &ada.account, &ben.account)
	return w, ada, ben
}

// TestCuriousLinks listens on all links of a network within TLS, with the eyes
// of every hop: on relay links there is nothing but whole cells, a client's
// address is seen by its guards alone, no hop but the exit reads more than where
// to extend to, and what an exit passes on names no mailbox.
func TestCuriousLinks(t *testing.T) {
	w, ada, ben := tapped(t)
	converse(t, ada, ben, 12)
	ben.open(t, nil)
	converse(t, ada, ben, 6)
	ada.close(t)
	ben.close(t)
	needles, boxes := insights(t, ada, ben)

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		t.Errorf("on a link, %s", f)
	}
	w.checkHops(t)
	w.checkAddresses(t, ada, ben)

	raw, written := addresses(boxes)
	s := newSearcher(append(append(append(ownIDs(w.layout), needles...), raw...), written...))
	found := map[string]bool{}
	s.find(w.services, found)
	seen := 0
	for i := range w.layout.Nodes {
		if found[ownID(i)] { // of a member, in the certificate of its request key
			seen++
		}
		delete(found, ownID(i))
	}
	if seen == 0 {
		t.Errorf("no node's ID was found in %d bytes of exits: the search sees nothing", len(w.services))
	}
	for what := range found {
		t.Errorf("an exit passed on the %s", what)
	}
}

// checkHops checks what each hop of each circuit recognised.
func (w *wiretap) checkHops(t *testing.T) {
	t.Helper()
	full, data := 0, 0
	for _, c := range w.circuits {
		for i, ch := range c.hops {
			if i > 0 && (!ch.fromNode || ch.from != w.layout.Nodes[c.hops[i-1].to].Node.ID) {
				t.Errorf("hop %d of a circuit was reached by somebody else than the hop before it", i)
			}
			for cmd, n := range ch.commands {
				cover := i == 1 && (cmd == onion.MsgCover || cmd == onion.MsgDrop)
				if i < 2 && cmd != onion.MsgExtend && !cover {
					t.Errorf("hop %d of a circuit read %d × %v", i, n, cmd)
				}
			}
			if i == 0 && slices.Contains(ch.recognised[min(len(ch.recognised), 2):], true) {
				t.Error("a guard recognised cells after its EXTEND")
			}
		}
		if len(c.hops) == 3 {
			full++
			data += c.hops[2].commands[onion.MsgData]
		}
		if len(c.hops) > 3 {
			t.Errorf("a circuit has %d hops", len(c.hops))
		}
	}
	if full == 0 || data == 0 {
		t.Errorf("%d circuits with %d pieces of data went by: the taps see nothing", full, data)
	}
}

// checkAddresses checks to whom clients' packets went: to their guards alone,
// which of 15 nodes are a few even if one or two fail.
func (w *wiretap) checkAddresses(t *testing.T, people ...*person) {
	t.Helper()
	for _, p := range people {
		for _, addr := range p.addrs {
			var seenBy, guards []int
			for _, d := range w.dials {
				if d.addr == addr.String() {
					seenBy = append(seenBy, d.to)
					if d.fromNode || d.protocol != link.ProtocolCells {
						t.Errorf("%s spoke %s to node %d, as a node: %v", p.name, d.protocol, d.to+1, d.fromNode)
					}
				}
			}
			for _, c := range w.circuits {
				if c.hops[0].addr == addr.String() {
					guards = append(guards, c.hops[0].to)
				}
			}
			seenBy, guards = unique(seenBy), unique(guards)
			if !slices.Equal(seenBy, guards) || len(seenBy) == 0 || len(seenBy) > 5 {
				t.Errorf("the nodes at %v saw %s's address; its guards are at %v", seenBy, p.name, guards)
			}
		}
	}
}

func unique(list []int) []int {
	slices.Sort(list)
	return slices.Compact(list)
}
