// Package testnet runs whole local networks: as nodes of this process for the
// demo, tests and benchmarks (Start), or as processes of their own (Up).
//
// Node N listens at 127.N.0.1, so that every node has a /16 of its own and the
// path rules stay on. It holds no protocol and is nothing to run in earnest: one
// machine that runs all nodes sees everything (docs/threat-model.md).
package testnet

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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
	Nodes   []Entry // in the order of their numbers; at first, node N at index N-1
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
	l, err := Open(dir)
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

// Open finds the network in dir as its file has it now, which `sotto network`
// may have changed: node N of those that it lists is at 127.N.0.1, and its folder
// is node-N. Where there is none, the error wraps fs.ErrNotExist.
func Open(dir string) (*Layout, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, NetworkFile))
	if err != nil {
		return nil, err
	}
	network, err := directory.ParseNetwork(b)
	if err != nil {
		return nil, err
	}
	l := &Layout{Dir: dir, Network: network}
	nodes := slices.Clone(network.Document.Nodes)
	slices.SortFunc(nodes, func(a, b directory.Node) int { return cmp.Compare(number(a), number(b)) })
	for i, n := range nodes {
		if number(n) < 1 || i > 0 && number(n) == number(nodes[i-1]) || n.Addr.Addr() != address(number(n)) {
			return nil, fmt.Errorf("testnet: %s is not a local network's: node at %v", NetworkFile, n.Addr)
		}
		l.Nodes = append(l.Nodes, Entry{Node: n, Dir: nodeDir(dir, number(n))})
	}
	return l, nil
}

// give puts the network's file into the folders of nodes that have an older one,
// or none because they have just joined.
func (l *Layout) give() error {
	signed, err := (&directory.Network{Document: l.Network.Document, Key: l.Network.Key, Signature: l.Network.Signature}).Encode()
	if err != nil {
		return err
	}
	for _, e := range l.Nodes {
		path := filepath.Join(e.Dir, NetworkFile)
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			has, err := directory.ParseNetwork(b)
			if err != nil {
				return fmt.Errorf("testnet: %s: %w", path, err)
			}
			if has.Document.Serial >= l.Network.Document.Serial {
				continue
			}
		}
		if err := node.ReplaceFile(path, signed); err != nil {
			return fmt.Errorf("testnet: the node at %v has no folder %s (sotto node init makes it): %w", e.Node.Addr.Addr(), e.Dir, err)
		}
	}
	return nil
}

// number returns N of the node at 127.N.0.1.
func number(n directory.Node) int { return int(n.Addr.Addr().As16()[13]) }

// address returns the address of node N.
func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, byte(i), 0, 1}) }

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
		addr := netip.AddrPortFrom(address(i), port)
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		port = uint16(c.LocalAddr().(*net.UDPAddr).Port)
	}
	return port, nil
}
