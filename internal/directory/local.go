package directory

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// MaxLocal is the most nodes of a local network: each has an IPv4 /16 of its
// own within 127.0.0.0/8, so that the path rules stay on.
const MaxLocal = 250

// MinLocal is the fewest nodes of a local network over which messages flow:
// guard, middle, exit and the member behind it, and one more, so that the two
// subscriptions of a mailbox have exits of their own.
const MinLocal = 5

// LocalNode is one node of a local network, with its secrets.
type LocalNode struct {
	Node     Node
	Identity suite.SigningKey
	Onion    suite.DHPrivate
}

// LocalConfig describes a local network.
type LocalConfig struct {
	Name    string // "local" if empty
	Nodes   int
	Swarm   int // wanted size of a swarm; 5 if zero
	Port    uint16
	Created time.Time
	// Key signs the network; if it is zero, one is drawn and forgotten.
	Key suite.SigningKey
	// Rand is read for all keys: the network's, then each node's.
	Rand io.Reader
}

// DefaultSwarm is the usual size of a swarm: a majority survives two losses.
const DefaultSwarm = 5

// Local makes a network of one operator per node, where node i (from 1) listens
// at 127.i.0.1. The names and addresses obey the path rules in form only: one
// person, on one machine, is all operators and sees all traffic. The nodes come in that order; those of one swarm are not
// neighbours.
func Local(cfg LocalConfig) (*Network, []LocalNode, error) {
	if cfg.Name == "" {
		cfg.Name = "local"
	}
	if cfg.Swarm == 0 {
		cfg.Swarm = DefaultSwarm
	}
	if cfg.Nodes < 1 || cfg.Nodes > MaxLocal {
		return nil, nil, fmt.Errorf("directory: local network of %d nodes, want 1 to %d", cfg.Nodes, MaxLocal)
	}
	swarms, err := swarmCount(cfg.Nodes, cfg.Swarm)
	if err != nil {
		return nil, nil, err
	}
	key := cfg.Key
	if key.IsZero() {
		if key, err = suite.NewSigningKey(cfg.Rand); err != nil {
			return nil, nil, err
		}
	}
	g := Document{Name: cfg.Name, Created: cfg.Created}
	nodes := make([]LocalNode, cfg.Nodes)
	for i := range nodes {
		if nodes[i], err = NewLocalNode(cfg.Rand, i+1, cfg.Port); err != nil {
			return nil, nil, err
		}
		nodes[i].Node.Swarm = SwarmID(i % swarms)
		g.Nodes = append(g.Nodes, nodes[i].Node)
	}
	n, err := SignDocument(key, g)
	return n, nodes, err
}

// swarmCount returns how many swarms of about size hold n nodes. What does not
// divide evenly makes some swarms larger, never smaller than size, unless one
// would exceed MaxSwarm.
func swarmCount(n, size int) (int, error) {
	if size < 1 || size > MaxSwarm {
		return 0, fmt.Errorf("directory: swarms of %d, want 1 to %d", size, MaxSwarm)
	}
	count := max(1, n/size)
	if least := (n + MaxSwarm - 1) / MaxSwarm; count < least {
		count = least
	}
	return count, nil
}

// NewLocalNode makes node i (from 1) of a local network, with keys from rand.
func NewLocalNode(rand io.Reader, i int, port uint16) (l LocalNode, err error) {
	if l.Identity, err = suite.NewSigningKey(rand); err != nil {
		return l, err
	}
	if l.Onion, err = suite.NewDHPrivate(rand); err != nil {
		return l, err
	}
	l.Node = Node{
		ID:       identity.NodeID(l.Identity.Public()),
		Operator: fmt.Sprintf("operator-%d", i),
		Addr:     netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(i), 0, 1}), port),
		OnionKey: l.Onion.Public(),
	}
	return l, nil
}
