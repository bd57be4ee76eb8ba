package directory

import "slices"

// Overlap returns the swarms of other that keep an address which swarm id keeps
// in d, in ascending order. Between two directories of a network it says from
// where mailboxes come to a swarm, or where they go (spec/directory.md §5.2).
func (d *Directory) Overlap(id SwarmID, other *Directory) []SwarmID {
	if len(d.swarms[id]) == 0 {
		return nil
	}
	found := make(map[SwarmID]struct{})
	for _, ring := range [][]point{d.ring, other.ring} {
		for i := range ring {
			if last := lastOf(ring, i); d.ownerOf(last) == id {
				found[other.ownerOf(last)] = struct{}{}
			}
		}
	}
	out := make([]SwarmID, 0, len(found))
	for s := range found {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// lastOf is the last position that is nearest to point i. Owners change behind
// such positions only, so that those of two rings show every pair of owners.
func lastOf(ring []point, i int) uint64 {
	at, next := ring[i].pos, ring[(i+1)%len(ring)].pos
	return at + (next-at)/2 // wraps like the ring does
}
