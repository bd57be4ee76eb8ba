package link

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// ErrNoRoute is returned when the system knows no way to a node's address: it
// is offline, or has no IPv6.
var ErrNoRoute = errors.New("link: no network leads to the node")

// carrier is a socket and what runs on it. A connection goes from one carrier
// to another when it moves, and stays known to the earlier ones until it ends.
type carrier struct {
	pc        net.PacketConn
	transport *quic.Transport
	local     netip.Addr // the computer's address that it sends from; zero: any
	users     int        // dials, and connections that are or were on it; Endpoint.mu guards it
}

func newCarrier(pc net.PacketConn, local netip.Addr) *carrier {
	conn := coalesce(pc)
	if local.IsValid() {
		conn = patiently(conn)
	}
	return &carrier{
		pc: pc, local: local,
		transport: &quic.Transport{Conn: conn, ConnectionIDLength: connIDLength},
	}
}

// close ends what still runs on the carrier without telling anybody.
func (c *carrier) close() error {
	err := c.transport.Close()
	if closeErr := c.pc.Close(); err == nil && !errors.Is(closeErr, net.ErrClosed) {
		err = closeErr
	}
	return err
}

// silence is close for a carrier whose network is another's by now: not even a
// farewell leaves.
func (c *carrier) silence() error {
	if err := c.pc.Close(); err != nil {
		return err
	}
	return c.transport.Close()
}

// udpSocket is what QUIC makes use of in a UDP socket.
type udpSocket interface {
	quic.OOBCapablePacketConn
	SetWriteBuffer(int) error
}

// batchReader is the part of it that takes runs of packets.
type batchReader interface {
	ReadBatch([]ipv4.Message, int) (int, error)
}

// patient is a socket for which a packet that the system refuses to send is a
// lost packet. While a computer changes networks, it has no address for a
// moment; a connection must outlive that.
type patient struct{ udpSocket }

func patiently(pc net.PacketConn) net.PacketConn {
	socket, ok := pc.(udpSocket)
	if !ok {
		return pc
	}
	if runs, ok := pc.(batchReader); ok {
		return struct {
			patient
			batchReader
		}{patient{socket}, runs}
	}
	return patient{socket}
}

// WriteMsgUDP implements quic.OOBCapablePacketConn.
func (p patient) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = p.udpSocket.WriteMsgUDP(b, oob, addr)
	if unsendable(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo implements net.PacketConn.
func (p patient) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := p.udpSocket.WriteTo(b, addr)
	if unsendable(err) {
		return len(b), nil
	}
	return n, err
}

// unsendable reports whether an error says that the network, or the address
// that the socket is bound to, is not there now. EINVAL is Linux's for the
// latter, EPERM a firewall's.
func unsendable(err error) bool {
	for _, e := range []error{
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN,
		syscall.EADDRNOTAVAIL, syscall.EINVAL, syscall.EPERM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// OpenSocket opens a UDP socket at a free port of local, for Config.Sockets.
func OpenSocket(local netip.Addr) (net.PacketConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
}

// systemRoute asks the system from which of its addresses remote is reached. It
// connects a datagram socket, which sends nothing.
func systemRoute(remote netip.AddrPort) (netip.Addr, bool) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return local.AddrPort().Addr().Unmap(), true
}

// acquire returns the carrier to reach remote with, for one more user.
func (e *Endpoint) acquire(remote netip.AddrPort) (*carrier, error) {
	if e.first != nil && (e.cfg.Sockets == nil || sameFamily(e.first.pc, remote.Addr())) {
		return e.use(e.first)
	}
	local, ok := e.cfg.Route(remote)
	if !ok {
		return nil, ErrNoRoute
	}
	return e.acquireAt(local)
}

// acquireAt returns the carrier at one of the computer's addresses.
func (e *Endpoint) acquireAt(local netip.Addr) (*carrier, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		return nil, ErrClosed
	}
	c := e.carriers[local]
	if c == nil {
		pc, err := e.cfg.Sockets(local)
		if err != nil {
			return nil, err
		}
		c = newCarrier(pc, local)
		e.carriers[local] = c
	}
	c.users++
	return c, nil
}

func (e *Endpoint) use(c *carrier) (*carrier, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		return nil, ErrClosed
	}
	c.users++
	return c, nil
}

// release undoes acquire.
func (e *Endpoint) release(c *carrier) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.users--
}

// retireLocked keeps c for those that are on it, and for no one else.
func (e *Endpoint) retireLocked(c *carrier) {
	if e.carriers[c.local] == c {
		delete(e.carriers, c.local)
		e.retired = append(e.retired, c)
	}
}

// sweep closes the carriers that nobody needs.
func (e *Endpoint) sweep() {
	e.mu.Lock()
	var unused []*carrier
	for local, c := range e.carriers {
		if c.users == 0 {
			delete(e.carriers, local)
			unused = append(unused, c)
		}
	}
	kept := e.retired[:0]
	for _, c := range e.retired {
		if c.users == 0 {
			unused = append(unused, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(e.retired[len(kept):])
	e.retired = kept
	e.mu.Unlock()
	for _, c := range unused {
		e.closed(c.close())
	}
}

// closed notes an error of closing a socket that was not the endpoint's end.
func (e *Endpoint) closed(err error) {
	if err != nil {
		e.cfg.Logger.Warn("link: closing a socket", "error", err)
	}
}

// takeCarriers returns all carriers but the first, which are no longer the
// endpoint's.
func (e *Endpoint) takeCarriers() []*carrier {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.retired
	for _, c := range e.carriers {
		all = append(all, c)
	}
	e.retired = nil
	clear(e.carriers)
	return all
}

// sameFamily reports whether a socket can send to an address: one at an
// unspecified IPv6 address reaches both families.
func sameFamily(pc net.PacketConn, to netip.Addr) bool {
	u, ok := pc.LocalAddr().(*net.UDPAddr)
	if !ok {
		return true
	}
	own := u.AddrPort().Addr()
	return own.Is6() && own.IsUnspecified() || own.Unmap().Is4() == to.Unmap().Is4()
}
