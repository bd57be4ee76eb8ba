package testnet

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/node"
	"sotto/internal/simnet"
)

// Network is a local network whose nodes live in this process.
type Network struct {
	layout *Layout
	cfg    Config
	dir    *directory.Directory
	mu     sync.Mutex // guards nodes
	nodes  []*node.Node
}

// Config changes how a Network's nodes run. The zero value is UDP on loopback.
type Config struct {
	// Net carries the packets instead of UDP, when not nil.
	Net *simnet.Net
	// Socket opens the socket of node N (from 1) in place of the directory's
	// address, when not nil: a test can watch it, or stand in front of it.
	Socket func(n int, addr netip.AddrPort) (net.PacketConn, error)
	// Now is the nodes' clock; nil is the system's.
	Now func() time.Time
	// Logger returns the logger of node N (from 1); nil is silence.
	Logger func(n int) *slog.Logger
	// Metrics makes every node serve its metrics on a free port of 127.0.0.1.
	Metrics bool
}

// Start runs all nodes of a layout.
func Start(l *Layout, cfg Config) (*Network, error) {
	dir, err := l.Network.Directory()
	if err != nil {
		return nil, err
	}
	n := &Network{layout: l, cfg: cfg, dir: dir, nodes: make([]*node.Node, len(l.Nodes))}
	for i := range n.nodes {
		if err := n.StartNode(i + 1); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Layout returns where the network lies on disk.
func (n *Network) Layout() *Layout { return n.layout }

// Directory returns the network's verified directory.
func (n *Network) Directory() *directory.Directory { return n.dir }

// StartNode runs node i (from 1), which does not run.
func (n *Network) StartNode(i int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[i-1] != nil {
		return fmt.Errorf("testnet: node %d runs already", i)
	}
	e := n.layout.Nodes[i-1]
	cfg := node.Config{Dir: e.Dir, Now: n.cfg.Now}
	if n.cfg.Logger != nil {
		cfg.Logger = n.cfg.Logger(i)
	}
	if n.cfg.Metrics {
		cfg.Metrics = "127.0.0.1:0"
	}
	var err error
	switch {
	case n.cfg.Socket != nil:
		cfg.PacketConn, err = n.cfg.Socket(i, e.Node.Addr)
	case n.cfg.Net != nil:
		cfg.PacketConn, err = n.cfg.Net.PacketConn(e.Node.Addr)
	}
	if err != nil {
		return fmt.Errorf("testnet: node %d: %w", i, err)
	}
	started, err := node.Start(cfg)
	if err != nil {
		return fmt.Errorf("testnet: node %d: %w", i, err)
	}
	n.nodes[i-1] = started
	return nil
}

// StopNode stops node i and waits for it; it may be started again.
func (n *Network) StopNode(i int) error {
	n.mu.Lock()
	running := n.nodes[i-1]
	n.nodes[i-1] = nil
	n.mu.Unlock()
	if running == nil {
		return nil
	}
	return running.Close()
}

// Number returns which node (from 1) has the ID, or 0.
func (n *Network) Number(id identity.NodeID) int {
	for i, e := range n.layout.Nodes {
		if e.Node.ID == id {
			return i + 1
		}
	}
	return 0
}

// clientAddr is where clients are: in no node's /16, on a free port.
var clientAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// ClientConn returns a client's socket in this network.
func (n *Network) ClientConn() (net.PacketConn, error) {
	if n.cfg.Net != nil {
		return n.cfg.Net.PacketConn(clientAddr)
	}
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(clientAddr))
}

// Close stops all nodes and waits for them.
func (n *Network) Close() error {
	errs := make([]error, len(n.nodes))
	var stops sync.WaitGroup
	for i := range n.nodes {
		stops.Go(func() { errs[i] = n.StopNode(i + 1) })
	}
	stops.Wait()
	return errors.Join(errs...)
}
