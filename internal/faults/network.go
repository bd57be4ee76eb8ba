package faults

import (
	"net"
	"net/netip"
)

// Listen opens the node's socket.
func (g *Ground) Listen(addr netip.AddrPort) (net.PacketConn, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	return &socket{PacketConn: conn, g: g}, nil
}

// socket loses packets without a word, as a network does.
type socket struct {
	net.PacketConn
	g *Ground
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(p)
		if err != nil || !s.g.drops(host(from)) {
			return n, from, err
		}
	}
}

// WriteTo implements net.PacketConn.
func (s *socket) WriteTo(p []byte, to net.Addr) (int, error) {
	if s.g.drops(host(to)) {
		return len(p), nil
	}
	return s.PacketConn.WriteTo(p, to)
}

func host(a net.Addr) netip.Addr {
	if udp, ok := a.(*net.UDPAddr); ok {
		return udp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
