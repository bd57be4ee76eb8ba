// Package testnet runs whole local networks: as nodes of this process for the
// demo, tests and benchmarks (Start), or as processes of their own (Up).
//
// Node N listens at 127.N.0.1, so that every node has a /16 of its own and the
// path rules stay on. It holds no protocol and is nothing to run in earnest: one
// machine that runs all nodes sees everything (docs/threat-model.md).
package testnet

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sotto/internal/directory"
	"sotto/internal/node"
	"sotto/internal/suite"
)

// NetworkFile is the name of the network's file in its folder.
const NetworkFile = "network.json"

// KeyFile is the name of the network's signing key in its folder, with which
// the network can grow and shrink (sotto network).
const KeyFile = "network.key"

// portTries bounds the search for a port that is free on every node's address.
const portTries = 20

// Layout is a local network on disk.
type Layout struct {
	Dir     string
	Network *directory.Network
	Nodes   []Entry // node N at index N-1
}

// Entry is one node of a layout.
type Entry struct {
	Node directory.Node
	Dir  string
}

// File returns the path of the network's file.
func (l *Layout) File() string { return filepath.Join(l.Dir, NetworkFile) }

// Prepare lays out a network of the given size under dir, or finds the one that
// is there already, which must have as many nodes.
func Prepare(dir string, nodes, swarm int) (*Layout, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l, err := open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return create(dir, nodes, swarm)
	}
	if err != nil {
		return nil, err
	}
	if len(l.Nodes) != nodes {
		return nil, fmt.Errorf("testnet: %s holds a network of %d nodes already, not %d", dir, len(l.Nodes), nodes)
	}
	return l, nil
}

func open(dir string) (*Layout, error) {
	b, err := os.ReadFile(filepath.Join(dir, NetworkFile))
	if err != nil {
		return nil, err
	}
	network, err := directory.ParseNetwork(b)
	if err != nil {
		return nil, err
	}
	l := &Layout{Dir: dir, Network: network, Nodes: make([]Entry, len(network.Document.Nodes))}
	for _, n := range network.Document.Nodes {
		i := number(n)
		if i < 1 || i > len(l.Nodes) || l.Nodes[i-1].Dir != "" {
			return nil, fmt.Errorf("testnet: %s is not a local network's: node at %v", NetworkFile, n.Addr)
		}
		l.Nodes[i-1] = Entry{Node: n, Dir: nodeDir(dir, i)}
	}
	return l, nil
}

// number returns N of the node at 127.N.0.1.
func number(n directory.Node) int { return int(n.Addr.Addr().As16()[13]) }

func nodeDir(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("node-%02d", i)) }

func create(dir string, nodes, swarm int) (*Layout, error) {
	port, err := freePort(nodes)
	if err != nil {
		return nil, err
	}
	key, err := suite.NewSigningKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := node.WriteKey(filepath.Join(dir, KeyFile), key.Seed()); err != nil {
		return nil, err
	}
	network, local, err := directory.Local(directory.LocalConfig{
		Nodes: nodes, Swarm: swarm, Port: port, Created: time.Now(), Key: key, Rand: rand.Reader,
	})
	if err != nil {
		return nil, err
	}
	signed, err := network.Encode()
	if err != nil {
		return nil, err
	}
	l := &Layout{Dir: dir, Network: network}
	for i, n := range local {
		e := Entry{Node: n.Node, Dir: nodeDir(dir, i+1)}
		if err := node.WriteDir(e.Dir, node.Keys{Identity: n.Identity, Onion: n.Onion}, signed); err != nil {
			return nil, err
		}
		l.Nodes = append(l.Nodes, e)
	}
	return l, l.write()
}

// write replaces the network's file in one step.
func (l *Layout) write() error {
	b, err := l.Network.Encode()
	if err != nil {
		return err
	}
	tmp := l.File() + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, l.File())
}

// freePort returns a UDP port that is free on 127.1.0.1 … 127.N.0.1.
func freePort(nodes int) (uint16, error) {
	var last error
	for range portTries {
		port, err := tryPort(nodes)
		if err == nil {
			return port, nil
		}
		last = err
	}
	return 0, fmt.Errorf("testnet: no UDP port is free on all of 127.1.0.1 to 127.%d.0.1: %w", nodes, last)
}

func tryPort(nodes int) (port uint16, err error) {
	var conns []net.PacketConn
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
	}()
	for i := 1; i <= nodes; i++ {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(i), 0, 1}), port)
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		port = uint16(c.LocalAddr().(*net.UDPAddr).Port)
	}
	return port, nil
}
