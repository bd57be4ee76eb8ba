package link

import (
	"net"
	"net/netip"
	"testing"

	"sotto/internal/directory"
)

// A client without a socket of its own reaches nodes of both families, each
// from the computer's address that leads there, on real sockets.
func TestBothFamilies(t *testing.T) {
	probe, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	_ = probe.Close()
	w := newWorld(t, 2, nil)
	w.nodes[1].Node.Addr = netip.MustParseAddrPort("[::1]:0")
	four, node4 := w.node(0)
	six, node6 := w.node(1)
	a, err := NewEndpoint(nil, Config{Sockets: OpenSocket})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, a, four, six)
	for _, end := range []struct {
		e    *Endpoint
		node directory.Node
	}{{four, node4}, {six, node6}} {
		near, far, _ := pair(t, a, end.e, end.node)
		pump(t, near, far, 200)
		pump(t, far, near, 200)
	}
	if len(a.carriers) != 2 {
		t.Errorf("%d sockets for two families", len(a.carriers))
	}
	// A node dials the other family as well, from a further socket.
	w.nodes[0].Node.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	both, err := NewEndpoint(w.socket(w.nodes[0].Node.Addr), Config{Identity: w.nodes[0].Identity, Directory: w.dir, Sockets: OpenSocket})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, both)
	near, far, in := pair(t, both, six, node6)
	pump(t, near, far, 50)
	if peer, ok := in.Peer(); !ok || peer != w.nodes[0].Node.ID {
		t.Error("a node that dials from another socket is not known")
	}
}

// Without a route a dial fails at once.
func TestNoRoute(t *testing.T) {
	w := newWorld(t, 2, nil)
	a, err := NewEndpoint(nil, Config{Sockets: OpenSocket, Route: func(netip.AddrPort) (netip.Addr, bool) { return netip.Addr{}, false }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, a)
	if _, err := a.Get(t.Context(), w.nodes[0].Node); err == nil {
		t.Fatal("linked without a route")
	}
	if _, err := NewEndpoint(nil, Config{}); err == nil {
		t.Error("an endpoint without any socket")
	}
	if _, ok := systemRoute(netip.MustParseAddrPort("127.0.0.1:9")); !ok {
		t.Error("the system knows no way to itself")
	}
}
