// Package simnet is a network of simulated packet connections with delay, loss
// and dead hosts, for tests and benchmarks: quic-go's testutils/simnet behind
// two functions. It runs in virtual time inside testing/synctest.
//
// No program uses it to talk to anyone.
package simnet

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	upstream "github.com/quic-go/quic-go/testutils/simnet"
)

// mtu is the greatest packet that the network carries unless Config says
// otherwise: QUIC's first packets have 1,232 bytes.
const mtu = 1400

// firstEphemeral is where ports for addresses with port 0 start.
const firstEphemeral = 49152

// Config describes a network.
type Config struct {
	// Latency is the one-way delay of every packet, unless LatencyFunc is set.
	Latency time.Duration
	// LatencyFunc gives the one-way delay from one host to another.
	LatencyFunc func(from, to netip.AddrPort) time.Duration
	// MTU is the greatest packet that the network carries. If it is set, sockets
	// promise not to fragment packets, as real ones do, so that QUIC looks for
	// the greatest packet that Drop lets pass.
	MTU int
	// Drop decides which packets are lost. It is called for every packet, by
	// several goroutines.
	Drop func(from, to netip.AddrPort, size int) bool
}

// Net is a simulated network.
type Net struct {
	cfg    Config
	router upstream.PerfectRouter

	mu        sync.Mutex // guards what follows
	links     []*upstream.SimulatedLink
	conns     []*upstream.SimConn
	down      map[netip.Addr]bool
	ephemeral uint16
	closed    bool
}

// New returns an empty network.
func New(cfg Config) *Net {
	return &Net{cfg: cfg, down: make(map[netip.Addr]bool), ephemeral: firstEphemeral}
}

// PacketConn attaches a socket at addr; port 0 takes a free one. An address
// may be attached again after its socket was closed.
func (n *Net) PacketConn(addr netip.AddrPort) (net.PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, net.ErrClosed
	}
	if addr.Port() == 0 {
		addr = netip.AddrPortFrom(addr.Addr(), n.ephemeral)
		if n.ephemeral++; n.ephemeral < firstEphemeral {
			return nil, fmt.Errorf("simnet: no free port at %v", addr.Addr())
		}
	}
	link := &upstream.SimulatedLink{
		DownlinkSettings: upstream.LinkSettings{MTU: cmp.Or(n.cfg.MTU, mtu)},
		UplinkSettings:   upstream.LinkSettings{MTU: cmp.Or(n.cfg.MTU, mtu)},
		LatencyFunc:      n.latency,
		UploadPacket:     (*filter)(n),
	}
	udp := net.UDPAddrFromAddrPort(addr)
	conn := upstream.NewBlockingSimConn(udp, link)
	n.router.AddNode(udp, link)
	link.Start()
	n.links = append(n.links, link)
	n.conns = append(n.conns, conn)
	if n.cfg.MTU != 0 {
		return whole{conn}, nil
	}
	return conn, nil
}

// whole is a socket that does not fragment packets. That quic-go finds out by
// asking for the system's socket, of which there is none to control.
type whole struct{ *upstream.SimConn }

// SyscallConn implements syscall.Conn.
func (whole) SyscallConn() (syscall.RawConn, error) { return uncontrolled{}, nil }

type uncontrolled struct{}

// Control implements syscall.RawConn.
func (uncontrolled) Control(func(uintptr)) error { return nil }

// Read implements syscall.RawConn.
func (uncontrolled) Read(func(uintptr) bool) error { return errors.ErrUnsupported }

// Write implements syscall.RawConn.
func (uncontrolled) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// SetDown makes a host neither send nor receive, or brings it back.
func (n *Net) SetDown(host netip.Addr, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[host] = down
}

// Close closes all sockets and returns when the network's goroutines ended.
func (n *Net) Close() {
	n.mu.Lock()
	links, conns := n.links, n.conns
	n.links, n.conns, n.closed = nil, nil, true
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	for _, l := range links {
		_ = l.Close()
	}
}

func (n *Net) latency(p upstream.Packet) time.Duration {
	if n.cfg.LatencyFunc == nil {
		return n.cfg.Latency
	}
	return n.cfg.LatencyFunc(addrPort(p.From), addrPort(p.To))
}

// filter is a Net as the router that its links send to.
type filter Net

// SendPacket implements upstream.Router.
func (f *filter) SendPacket(p upstream.Packet) error {
	from, to := addrPort(p.From), addrPort(p.To)
	f.mu.Lock()
	lost := f.down[from.Addr()] || f.down[to.Addr()]
	f.mu.Unlock()
	if lost || f.cfg.Drop != nil && f.cfg.Drop(from, to, len(p.Data)) {
		return nil
	}
	return f.router.SendPacket(p)
}

// AddNode implements upstream.Router.
func (f *filter) AddNode(addr net.Addr, r upstream.PacketReceiver) { f.router.AddNode(addr, r) }

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
