// Package directory holds the verified list of nodes, their keys and their
// swarms; it places mailboxes on swarms and chooses paths under the diversity
// rules. It implements spec/directory.md.
//
// It is pure: it reads no file and asks no network. Whoever needs the current
// directory holds a Source, the one place that hands out verified ones; today
// that is the signed genesis file, later the ledger.
package directory

import (
	"slices"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// EpochLength is how long an epoch lasts: request keys live for one, so it is
// as short as clock skew and key fetching allow (spec/directory.md §3).
const EpochLength = time.Hour

// Directory is an immutable directory whose signature was verified. Only
// Network.Directory makes one.
type Directory struct {
	name    string
	created time.Time
	key     suite.VerifyKey
	nodes   []Node // ascending by ID
	index   map[identity.NodeID]int
	swarms  map[SwarmID][]Node // each ascending by ID
	ring    []point            // ascending by position
}

// Source hands out verified directories: the current one, which changes
// between calls when a new one was committed. Current never returns nil and is
// safe for concurrent use.
type Source interface {
	Current() *Directory
}

// Fixed is the Source of a directory that never changes.
func Fixed(d *Directory) Source { return fixed{d} }

type fixed struct{ d *Directory }

func (f fixed) Current() *Directory { return f.d }

// newDirectory indexes a checked genesis.
func newDirectory(g *Genesis, key suite.VerifyKey) *Directory {
	d := &Directory{
		name:    g.Name,
		created: g.Created,
		key:     key,
		nodes:   slices.Clone(g.Nodes),
		index:   make(map[identity.NodeID]int, len(g.Nodes)),
		swarms:  make(map[SwarmID][]Node),
	}
	for i, n := range d.nodes {
		d.index[n.ID] = i
		d.swarms[n.Swarm] = append(d.swarms[n.Swarm], n)
	}
	d.ring = newRing(d.swarms)
	return d
}

// Name returns the network's name.
func (d *Directory) Name() string { return d.name }

// NetworkKey returns the key that signed the directory; it names the network.
func (d *Directory) NetworkKey() suite.VerifyKey { return d.key }

// Created returns the time of the genesis, where epoch 0 begins.
func (d *Directory) Created() time.Time { return d.created }

// Len returns the number of nodes.
func (d *Directory) Len() int { return len(d.nodes) }

// Nodes returns all nodes in ascending order of ID. The slice is the caller's.
func (d *Directory) Nodes() []Node { return slices.Clone(d.nodes) }

// Node returns the node with the given ID.
func (d *Directory) Node(id identity.NodeID) (Node, bool) {
	i, ok := d.index[id]
	if !ok {
		return Node{}, false
	}
	return d.nodes[i], true
}

// Epoch returns the epoch at now; before the genesis it is 0.
func (d *Directory) Epoch(now time.Time) uint64 {
	if now.Before(d.created) {
		return 0
	}
	return uint64(now.Sub(d.created) / EpochLength)
}

// EpochStart returns when epoch e begins; it ends when e+1 begins.
func (d *Directory) EpochStart(e uint64) time.Time {
	return d.created.Add(time.Duration(e) * EpochLength)
}
