package relay

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// prefix4 and prefix6 are how much of an address makes a neighbourhood,
	// whose clients share what is scarce: what one party gets easily.
	prefix4, prefix6 = 24, 48
	// host4 and host6 are how much of it is one client's, or a household's.
	host4, host6 = 32, 64
	// floodPause is how long a client whose link was closed for its flood is
	// not let in again: otherwise each new link would begin with a full bucket.
	floodPause = time.Minute
	// maxFlooders bounds the addresses that are remembered for it.
	maxFlooders = 1024
)

// links is the table of clients' links. Addresses stand in it while their links
// live, and for floodPause after a flood; they are told to nobody
// (spec/circuit.md §4.10).
type links struct {
	max   int
	close func(*neighbour) // ends a link; it does not wait for the end

	mu       sync.Mutex // guards what follows
	count    int
	byPrefix map[netip.Prefix][]*neighbour // oldest first
	flooders map[netip.Prefix]time.Time    // until when
}

func newLinks(max int) *links {
	return &links{max: max, close: (*neighbour).refuse, byPrefix: make(map[netip.Prefix][]*neighbour), flooders: make(map[netip.Prefix]time.Time)}
}

// prefixOf cuts an address.
func prefixOf(a netip.Addr, bits4, bits6 int) netip.Prefix {
	a = a.Unmap()
	bits := bits4
	if a.Is6() {
		bits = bits6
	}
	p, _ := a.WithZone("").Prefix(bits) // an invalid address, of no IP network, gives the zero prefix
	return p
}

// add gives n a place. With three quarters of all places taken, the prefix with
// the most links pays: its oldest link without circuits is closed, or else n is
// refused if it belongs there. When no place is left, the newest link of that
// prefix gives way.
func (t *links) add(n *neighbour, now time.Time) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until, ok := t.flooders[prefixOf(n.addr, host4, host6)]; ok && now.Before(until) {
		return false
	}
	p := prefixOf(n.addr, prefix4, prefix6)
	if 4*(t.count+1) > 3*t.max && !t.makeRoomLocked(p) {
		return false
	}
	t.byPrefix[p] = append(t.byPrefix[p], n)
	t.count++
	return true
}

// makeRoomLocked reports whether a link of p may have a place.
func (t *links) makeRoomLocked(p netip.Prefix) bool {
	fullest := p
	for q, list := range t.byPrefix {
		if len(list) > len(t.byPrefix[fullest]) {
			fullest = q
		}
	}
	list := t.byPrefix[fullest]
	if i := slices.IndexFunc(list, func(n *neighbour) bool { return n.circuits.Load() == 0 }); i >= 0 {
		t.closeLocked(fullest, i)
		return true
	}
	if t.count < t.max {
		return fullest != p || len(list) == 0
	}
	if fullest == p || len(list) <= len(t.byPrefix[p])+1 {
		return false
	}
	t.closeLocked(fullest, len(list)-1)
	return true
}

// closeLocked closes link i of a prefix. It gives its place up at once.
func (t *links) closeLocked(p netip.Prefix, i int) {
	n := t.byPrefix[p][i]
	t.removeLocked(p, i)
	t.close(n)
}

func (t *links) removeLocked(p netip.Prefix, i int) {
	t.count--
	if t.byPrefix[p] = slices.Delete(t.byPrefix[p], i, i+1); len(t.byPrefix[p]) == 0 {
		delete(t.byPrefix, p)
	}
}

// remove gives n's place up, if it still has it.
func (t *links) remove(n *neighbour) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := prefixOf(n.addr, prefix4, prefix6)
	if i := slices.Index(t.byPrefix[p], n); i >= 0 {
		t.removeLocked(p, i)
	}
}

// flooded keeps n's host out for a while.
func (t *links) flooded(n *neighbour, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.flooders, func(_ netip.Prefix, until time.Time) bool { return !now.Before(until) })
	if len(t.flooders) < maxFlooders {
		t.flooders[prefixOf(n.addr, host4, host6)] = now.Add(floodPause)
	}
}

// all returns the links that stand.
func (t *links) all() []*neighbour {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Concat(slices.Collect(maps.Values(t.byPrefix))...)
}
