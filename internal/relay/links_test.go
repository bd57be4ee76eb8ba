package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Who has many addresses in one network gets what they leave over, and others
// get in all the same.
func TestFullTableIsShared(t *testing.T) {
	inSim(t, 2, Limits{MaxClientLinks: 8}, func(t *testing.T, w *network) {
		guard := w.nodes[0]
		crowd := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }
		var clients []*client
		defer func() {
			for _, c := range clients {
				c.close()
			}
		}()
		enter := func(host netip.Addr) bool {
			c := w.dialFrom(host, guard)
			clients = append(clients, c)
			if writeHandshake(c.ch, 1, offered(t, guard, 0)) != nil {
				return false
			}
			_, err := readHandshake(c.ch, 2)
			return err == nil
		}
		for i := range 6 {
			if !enter(crowd(i)) {
				t.Fatalf("link %d of 6 is refused, of 8 places", i)
			}
		}
		if enter(crowd(6)) {
			t.Error("the crowd gets a place of the last quarter")
		}
		for i := range 4 {
			if !enter(netip.AddrFrom4([4]byte{198, 51, byte(i), 1})) {
				t.Errorf("stranger %d is refused for the crowd's sake", i)
			}
		}
		time.Sleep(5 * linkLatency)
		if n := guard.relay.links.count; n != 8 {
			t.Errorf("%d links stand, want 8", n)
		}
		if n := len(guard.relay.links.byPrefix[prefixOf(crowd(0), prefix4, prefix6)]); n != 4 {
			t.Errorf("the crowd has %d links, want 4", n)
		}
	})
}

func TestPrefixes(t *testing.T) {
	for addr, want := range map[string]string{
		"203.0.113.77":        "203.0.113.0/24",
		"::ffff:203.0.113.77": "203.0.113.0/24",
		"2001:db8:1:2::77":    "2001:db8:1::/48",
		"fe80::1%eth0":        "fe80::/48",
	} {
		if got := prefixOf(netip.MustParseAddr(addr), prefix4, prefix6).String(); got != want {
			t.Errorf("%s lies in %s, want %s", addr, got, want)
		}
	}
	if got := prefixOf(netip.Addr{}, prefix4, prefix6); got != (netip.Prefix{}) {
		t.Errorf("no address lies in %v", got)
	}
}

// Whoever comes and goes, the table counts right and keeps its bound, and a
// newcomer's network never drives out a smaller one.
func TestLinksKeepTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newLinks(rapid.IntRange(1, 12).Draw(t, "max"))
		var closed []*neighbour
		table.close = func(n *neighbour) { closed = append(closed, n) }
		var live []*neighbour
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if len(live) > 0 && rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "who")
				table.remove(live[i])
				table.remove(live[i])
			} else {
				n := &neighbour{addr: netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", rapid.IntRange(0, 4).Draw(t, "network")))}
				n.circuits.Store(int64(rapid.IntRange(0, 1).Draw(t, "circuits")))
				own := len(table.byPrefix[prefixOf(n.addr, prefix4, prefix6)])
				closed = nil
				if table.add(n, time.Unix(1, 0)) {
					live = append(live, n)
				}
				for _, gone := range closed {
					left := len(table.byPrefix[prefixOf(gone.addr, prefix4, prefix6)])
					if gone.circuits.Load() > 0 && left < own {
						t.Fatalf("a network with %d links gave way to one with %d", left+1, own)
					}
				}
			}
			sum := 0
			for _, list := range table.byPrefix {
				if sum += len(list); len(list) == 0 {
					t.Fatal("a network without links stays in the table")
				}
			}
			if sum != table.count || sum > table.max {
				t.Fatalf("%d links, counted as %d, of at most %d", sum, table.count, table.max)
			}
		}
	})
}
