// Package directory holds the verified list of nodes, their keys and their
// swarms; it places mailboxes on swarms and chooses paths under the diversity
// rules. It implements spec/directory.md.
//
// It is pure: it reads no file and asks no network. Whoever needs the current
// directory holds a Source, the one place that hands out verified ones; today
// these are documents that the network's key signed, later the ledger's.
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
	name      string
	created   time.Time
	serial    uint64
	issued    time.Time
	key       suite.VerifyKey
	document  []byte // what the key signed
	signature suite.Signature
	nodes     []Node // ascending by ID
	index     map[identity.NodeID]int
	swarms    map[SwarmID][]Node // each ascending by ID
	ring      []point            // ascending by position
}

// newDirectory indexes a network whose signature over document was verified.
func newDirectory(n *Network, document []byte) *Directory {
	g := &n.Document
	d := &Directory{
		name:      g.Name,
		created:   g.Created,
		serial:    g.Serial,
		issued:    g.Issued,
		key:       n.Key,
		document:  document,
		signature: n.Signature,
		nodes:     slices.Clone(g.Nodes),
		index:     make(map[identity.NodeID]int, len(g.Nodes)),
		swarms:    make(map[SwarmID][]Node),
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

// Serial returns the document's place among those of its network: a newer one
// has a higher serial, and the genesis has 0.
func (d *Directory) Serial() uint64 { return d.serial }

// Issued returns when the document was signed.
func (d *Directory) Issued() time.Time { return d.issued }

// Network returns the network file of the directory, without hints.
func (d *Directory) Network() *Network {
	return &Network{
		Document:  Document{Name: d.name, Created: d.created, Serial: d.serial, Issued: d.issued, Nodes: d.Nodes()},
		Key:       d.key,
		Signature: d.signature,
	}
}

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
