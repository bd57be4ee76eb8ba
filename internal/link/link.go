package link

import (
	"context"
	"net/netip"

	"github.com/quic-go/quic-go"

	"sotto/internal/identity"
)

// Link is a connection that carries circuits. The side that dialled opens
// channels, the other accepts them.
type Link struct {
	conn  *quic.Conn
	peer  identity.NodeID
	known bool
	pad   *pad // nil between nodes
}

// Peer returns the node at the other end, or false for a client.
func (l *Link) Peer() (identity.NodeID, bool) { return l.peer, l.known }

// Address returns the IP address that the peer has at the moment. It is for
// sharing what is scarce fairly, and never to be stored, logged or shown.
func (l *Link) Address() netip.Addr {
	// Never by way of text, which would stay in the node's memory.
	a, ok := l.conn.RemoteAddr().(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.Addr{} // of no IP network
	}
	return a.AddrPort().Addr().Unmap()
}

// Open opens a channel. It waits while the peer allows no more streams.
func (l *Link) Open(ctx context.Context) (*Channel, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return newChannel(s, l.pad), nil
}

// Accept returns the next channel that the peer opened. A channel exists for
// us once its first bytes, or those of a later one, arrive.
func (l *Link) Accept(ctx context.Context) (*Channel, error) {
	s, err := l.conn.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return newChannel(s, l.pad), nil
}

// Done is closed when the link is dead: closed by either side, or its peer
// silent for maxIdle.
func (l *Link) Done() <-chan struct{} { return l.conn.Context().Done() }

// Close closes the link with everything on it, telling the peer.
func (l *Link) Close() error { return l.conn.CloseWithError(closeNormal, "") }

// Refuse closes the link as one too many.
func (l *Link) Refuse() error { return l.conn.CloseWithError(closeBusy, "") }
