package relay

import (
	"runtime"
	"time"
)

// How much of MaxHalfOpen one link may take, so that none takes all.
const (
	// clientHalfOpenShare leaves a client 16 of 512: it builds six at a time.
	clientHalfOpenShare = 32
	// nodeHalfOpenShare leaves a node half, for it carries many clients'.
	nodeHalfOpenShare = 2
)

// Limits bounds what neighbours can make a relay do. A zero field takes the
// default of spec/circuit.md §2, where the reasons stand.
type Limits struct {
	CreateTimeout     time.Duration // from a channel's appearance to its CREATE
	ExtendTimeout     time.Duration // from EXTEND to the next relay's CREATED
	BeginTimeout      time.Duration // from BEGIN to an open stream
	CircuitIdle       time.Duration // without a RELAY cell
	LinkIdle          time.Duration // of a client's, without circuits
	ClientRate        int           // channels a second on a client's link
	ClientBurst       int           // and at once
	NodeRate          int           // channels a second on a node's link
	NodeBurst         int           // and at once
	MaxHandshakes     int           // CREATEs answered at a time
	MaxWaiting        int           // CREATEs that wait to be answered
	MaxHalfOpen       int           // channels without a whole CREATE
	MaxClientLinks    int           // links from clients
	MaxClientCircuits int           // circuits on one link from a client
	MaxNodeCircuits   int           // circuits on one link from a node
	MaxTargetStreams  int           // streams to one node
	MaxQueuedCells    int           // cells that wait for one neighbour on one circuit
	MaxMemory         int64         // bytes that wait on all circuits
}

var defaultLimits = Limits{
	CreateTimeout:     5 * time.Second,
	ExtendTimeout:     6 * time.Second,
	BeginTimeout:      6 * time.Second,
	CircuitIdle:       10 * time.Minute,
	LinkIdle:          5 * time.Minute,
	ClientRate:        10,
	ClientBurst:       60,
	NodeRate:          1000,
	NodeBurst:         2000,
	MaxHandshakes:     runtime.GOMAXPROCS(0),
	MaxWaiting:        256,
	MaxHalfOpen:       512,
	MaxClientLinks:    4096,
	MaxClientCircuits: 64,
	MaxNodeCircuits:   8192,
	MaxTargetStreams:  4096,
	MaxQueuedCells:    2048,
	MaxMemory:         256 << 20,
}

// withDefaults fills zero fields.
func (l Limits) withDefaults() Limits {
	orElse(&l.CreateTimeout, defaultLimits.CreateTimeout)
	orElse(&l.ExtendTimeout, defaultLimits.ExtendTimeout)
	orElse(&l.BeginTimeout, defaultLimits.BeginTimeout)
	orElse(&l.CircuitIdle, defaultLimits.CircuitIdle)
	orElse(&l.LinkIdle, defaultLimits.LinkIdle)
	orElse(&l.ClientRate, defaultLimits.ClientRate)
	orElse(&l.ClientBurst, defaultLimits.ClientBurst)
	orElse(&l.NodeRate, defaultLimits.NodeRate)
	orElse(&l.NodeBurst, defaultLimits.NodeBurst)
	orElse(&l.MaxHandshakes, defaultLimits.MaxHandshakes)
	orElse(&l.MaxWaiting, defaultLimits.MaxWaiting)
	orElse(&l.MaxHalfOpen, defaultLimits.MaxHalfOpen)
	orElse(&l.MaxClientLinks, defaultLimits.MaxClientLinks)
	orElse(&l.MaxClientCircuits, defaultLimits.MaxClientCircuits)
	orElse(&l.MaxNodeCircuits, defaultLimits.MaxNodeCircuits)
	orElse(&l.MaxTargetStreams, defaultLimits.MaxTargetStreams)
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
