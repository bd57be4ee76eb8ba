package relay

import "time"

// Limits bounds what neighbours can make a relay do. A zero field takes the
// default of spec/circuit.md §2, where the reasons stand.
type Limits struct {
	CreateTimeout     time.Duration // from a channel's appearance to its CREATE
	ExtendTimeout     time.Duration // from EXTEND to the next relay's CREATED
	BeginTimeout      time.Duration // from BEGIN to an open stream
	MaxHalfOpen       int           // channels without an answered CREATE
	MaxClientLinks    int           // links from clients
	MaxClientCircuits int           // circuits on one link from a client
	MaxNodeCircuits   int           // circuits on one link from a node
	MaxQueuedCells    int           // cells that wait for one neighbour on one circuit
	MaxMemory         int64         // bytes that wait on all circuits
}

var defaultLimits = Limits{
	CreateTimeout:     5 * time.Second,
	ExtendTimeout:     6 * time.Second,
	BeginTimeout:      6 * time.Second,
	MaxHalfOpen:       512,
	MaxClientLinks:    4096,
	MaxClientCircuits: 64,
	MaxNodeCircuits:   8192,
	MaxQueuedCells:    2048,
	MaxMemory:         256 << 20,
}

// withDefaults fills zero fields.
func (l Limits) withDefaults() Limits {
	orElse(&l.CreateTimeout, defaultLimits.CreateTimeout)
	orElse(&l.ExtendTimeout, defaultLimits.ExtendTimeout)
	orElse(&l.BeginTimeout, defaultLimits.BeginTimeout)
	orElse(&l.MaxHalfOpen, defaultLimits.MaxHalfOpen)
	orElse(&l.MaxClientLinks, defaultLimits.MaxClientLinks)
	orElse(&l.MaxClientCircuits, defaultLimits.MaxClientCircuits)
	orElse(&l.MaxNodeCircuits, defaultLimits.MaxNodeCircuits)
	orElse(&l.MaxQueuedCells, defaultLimits.MaxQueuedCells)
	orElse(&l.MaxMemory, defaultLimits.MaxMemory)
	return l
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
