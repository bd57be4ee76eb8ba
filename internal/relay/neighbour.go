package relay

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sotto/internal/identity"
	"sotto/internal/link"
)

// maxRefused is how many channels of a client are refused for coming too fast,
// before its link is closed: it is not going to stop.
const maxRefused = 256

// neighbour is the other end of a link, and what it may do on it.
type neighbour struct {
	link   *link.Link
	id     identity.NodeID // if isNode
	isNode bool
	addr   netip.Addr // a client's, for its place in links; zero for a node

	maxCircuits int64
	maxHalfOpen int
	circuits    atomic.Int64 // open or being opened
	idle        atomic.Int32 // looks in a row at which there was no circuit

	// Of the goroutine that accepts channels.
	bucket  bucket
	refused int // channels since nothing waited
}

func (r *Relay) newNeighbour(l *link.Link, now time.Time) *neighbour {
	n := &neighbour{link: l}
	if n.id, n.isNode = l.Peer(); n.isNode {
		n.maxCircuits = int64(r.limits.MaxNodeCircuits)
		n.maxHalfOpen = max(1, r.limits.MaxHalfOpen/nodeHalfOpenShare)
		n.bucket = newBucket(r.limits.NodeRate, r.limits.NodeBurst, now)
		return n
	}
	n.addr = l.Address()
	n.maxCircuits = int64(r.limits.MaxClientCircuits)
	n.maxHalfOpen = max(1, r.limits.MaxHalfOpen/clientHalfOpenShare)
	n.bucket = newBucket(r.limits.ClientRate, r.limits.ClientBurst, now)
	return n
}

// admit decides about a new channel: whether it may become a circuit, and after
// what wait.
func (n *neighbour) admit(now time.Time) (wait time.Duration, ok bool) {
	wait, ok = n.bucket.take(now)
	if ok = ok && n.circuits.Load() < n.maxCircuits; ok && n.bucket.even() {
		n.refused = 0
	} else if !ok {
		n.refused++
	}
	return wait, ok
}

// refuse closes the link as one too many.
func (n *neighbour) refuse() { _ = n.link.Refuse() } // an error says that it is closed already

// incorrigible reports whether the link is to be closed. A node's is not: it
// carries the circuits of many, and one of them would have the others'
// destroyed.
func (n *neighbour) incorrigible() bool { return !n.isNode && n.refused >= maxRefused }
