package link

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/simnet"
	"sotto/internal/suite"
)

// seeds is a reproducible source of key material for tests.
type seeds byte

func (s *seeds) Read(p []byte) (int, error) {
	for i := range p {
		*s++
		p[i] = byte(*s)*31 + byte(i)
	}
	return len(p), nil
}

// world is a local network's directory and keys, on simulated or real sockets.
type world struct {
	t     testing.TB
	nodes []directory.LocalNode
	dir   directory.Source
	sim   *simnet.Net // nil: loopback
}

func newWorld(t testing.TB, n int, sim *simnet.Net) *world {
	t.Helper()
	w := newWorldOf(t, n, 0)
	w.sim = sim
	return w
}

// newWorldOf makes the keys of its nodes from seed.
func newWorldOf(t testing.TB, n int, seed seeds) *world {
	t.Helper()
	rand := seed
	port := uint16(4000)
	network, nodes, err := directory.Local(directory.LocalConfig{
		Nodes: n, Swarm: 1, Port: port, Created: time.Unix(1_700_000_000, 0), Rand: &rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := network.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, nodes: nodes, dir: directory.Fixed(dir)}
}

func (w *world) socket(addr netip.AddrPort) net.PacketConn {
	w.t.Helper()
	var pc net.PacketConn
	var err error
	if w.sim != nil {
		pc, err = w.sim.PacketConn(addr)
	} else {
		pc, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), 0)))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return pc
}

// node starts an endpoint with node i's key and returns what to dial.
func (w *world) node(i int) (*Endpoint, directory.Node) {
	w.t.Helper()
	n := w.nodes[i]
	e := w.endpoint(n.Node.Addr, n.Identity)
	n.Node.Addr = e.LocalAddr().(*net.UDPAddr).AddrPort()
	return e, n.Node
}

// clientAddr is where clients are; port 0 takes a free one.
var clientAddr = netip.MustParseAddrPort("127.0.0.1:0")

// client starts an endpoint without a key.
func (w *world) client() *Endpoint {
	return w.endpoint(clientAddr, suite.SigningKey{})
}

func (w *world) endpoint(addr netip.AddrPort, key suite.SigningKey) *Endpoint {
	w.t.Helper()
	e, err := NewEndpoint(w.socket(addr), Config{Identity: key, Directory: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func closeAll(t testing.TB, es ...*Endpoint) {
	t.Helper()
	for _, e := range es {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pair opens a channel from a to b.
func pair(t testing.TB, a, b *Endpoint, to directory.Node) (near, far *Channel, l *Link) {
	t.Helper()
	ctx := timeout(t)
	out, err := a.Get(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	in, err := b.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	near, err = out.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := near.WriteCells(numbered(0)); err != nil {
		t.Fatal(err)
	}
	far, err = in.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var c onion.Cell
	if err := far.ReadCell(&c); err != nil {
		t.Fatal(err)
	}
	return near, far, in
}

func numbered(i int) *onion.Cell {
	var c onion.Cell
	for j := range c {
		c[j] = byte(i + j)
	}
	c.SetHeader(uint32(i), onion.CmdRelay)
	return &c
}

// has reports whether there is a ticket for node.
func (t *tickets) has(node identity.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.kept[ticketFor{node, ProtocolCells, netip.Addr{}}]
	return ok
}

func (t *tickets) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.kept)
}
