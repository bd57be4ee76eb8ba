package directory

import (
	"cmp"
	"encoding/binary"
	"slices"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// Labels of this package (spec/conventions.md §3).
const (
	labelDocument suite.Label = suite.LabelPrefix + "directory/document"
	labelCard     suite.Label = suite.LabelPrefix + "directory/card"
	labelSwarm    suite.Label = suite.LabelPrefix + "directory/swarm"
	labelAddress  suite.Label = suite.LabelPrefix + "directory/address"
)

// pointsPerSwarm is how many points of the ring each swarm holds: enough that
// the largest share of addresses stays within about twice the mean, few enough
// that a directory of MaxNodes is indexed in milliseconds.
const pointsPerSwarm = 32

// point is one place of a swarm on the ring.
type point struct {
	pos   uint64
	swarm SwarmID
}

// newRing places the swarms (spec/directory.md §5.2).
func newRing(swarms map[SwarmID][]Node) []point {
	ring := make([]point, 0, len(swarms)*pointsPerSwarm)
	for id := range swarms {
		for i := range pointsPerSwarm {
			var b [3]byte
			binary.BigEndian.PutUint16(b[:2], uint16(id))
			b[2] = byte(i)
			ring = append(ring, point{position(labelSwarm, b[:]), id})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.pos, b.pos), cmp.Compare(a.swarm, b.swarm))
	})
	return ring
}

// position is where b lies on the ring of 2^64 positions.
func position(label suite.Label, b []byte) uint64 {
	h := suite.Hash(label, b)
	return binary.BigEndian.Uint64(h[:8])
}

// SwarmIDOf returns the swarm that keeps the mailbox at address: the one with
// the point nearest to the address's position, in either direction; of two as
// near, the one that lies before it.
func (d *Directory) SwarmIDOf(address [32]byte) SwarmID {
	return d.ownerOf(position(labelAddress, address[:]))
}

// ownerOf returns the swarm that a position belongs to.
func (d *Directory) ownerOf(pos uint64) SwarmID {
	i, _ := slices.BinarySearchFunc(d.ring, pos, func(p point, pos uint64) int { return cmp.Compare(p.pos, pos) })
	after := d.ring[i%len(d.ring)]
	before := d.ring[(i+len(d.ring)-1)%len(d.ring)]
	// Subtraction wraps like the ring does.
	if pos-before.pos <= after.pos-pos {
		return before.swarm
	}
	return after.swarm
}

// SwarmOf returns the members of the swarm that keeps the mailbox at address,
// in ascending order of ID. The slice is the caller's.
func (d *Directory) SwarmOf(address [32]byte) []Node {
	return slices.Clone(d.swarms[d.SwarmIDOf(address)])
}

// Swarm returns the members of swarm id in ascending order of ID; none if
// there is no such swarm. The slice is the caller's.
func (d *Directory) Swarm(id SwarmID) []Node { return slices.Clone(d.swarms[id]) }

// Swarms returns the IDs of all swarms in ascending order.
func (d *Directory) Swarms() []SwarmID {
	ids := make([]SwarmID, 0, len(d.swarms))
	for id := range d.swarms {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// InSwarmOf reports whether node id is a member of the swarm of address.
func (d *Directory) InSwarmOf(id identity.NodeID, address [32]byte) bool {
	n, ok := d.Node(id)
	return ok && n.Swarm == d.SwarmIDOf(address)
}
