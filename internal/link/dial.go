package link

import (
	"context"
	"net"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
)

// Get returns a live link to node: the one in use, or a new one. Concurrent
// calls share one attempt. After a failed attempt, calls fail at once with a
// *BackoffError until its pause is over.
func (e *Endpoint) Get(ctx context.Context, node directory.Node) (*Link, error) {
	return e.links.get(ctx, node)
}

// ForgetFailures ends the pauses after failed attempts: they were our own
// connection's and say nothing of the nodes.
func (e *Endpoint) ForgetFailures() {
	e.links.forget()
	e.services.forget()
}

// Dial makes a link to node that is not shared and not kept. The caller closes
// it.
func (e *Endpoint) Dial(ctx context.Context, node directory.Node) (*Link, error) {
	return e.dialLink(ctx, node)
}

// DialService returns a live service connection to node, as Get does. Only a
// node's endpoint has any.
func (e *Endpoint) DialService(ctx context.Context, node directory.Node) (*ServiceConn, error) {
	if !e.isNode() {
		return nil, ErrNoIdentity
	}
	return e.services.get(ctx, node)
}

func (e *Endpoint) dialLink(ctx context.Context, node directory.Node) (*Link, error) {
	conn, err := e.dial(ctx, node, ProtocolCells)
	if err != nil {
		return nil, err
	}
	l := &Link{conn: conn, peer: node.ID, known: true}
	if !e.isNode() {
		l.pad = e.newPad(conn)
	}
	return l, nil
}

func (e *Endpoint) dialService(ctx context.Context, node directory.Node) (*ServiceConn, error) {
	conn, err := e.dial(ctx, node, ProtocolService)
	if err != nil {
		return nil, err
	}
	s := &ServiceConn{conn: conn, peer: node.ID, tails: newTails()}
	e.services.wg.Go(func() { s.tails.accept(conn) })
	return s, nil
}

func (e *Endpoint) dial(ctx context.Context, node directory.Node, protocol string) (*quic.Conn, error) {
	if e.ctx.Err() != nil {
		return nil, ErrClosed
	}
	config := dialConfig()
	if protocol == ProtocolService {
		config = serviceConfig()
	}
	from, err := e.acquire(node.Addr)
	if err != nil {
		return nil, err
	}
	conn, err := from.transport.Dial(ctx, net.UDPAddrFromAddrPort(node.Addr), e.dialTLS(protocol, node.ID, from.local), config)
	if err != nil {
		e.release(from)
		return nil, err
	}
	if !e.track(&tracked{conn: conn, remote: node.Addr, at: from, on: []*carrier{from}}) {
		_ = conn.CloseWithError(closeNormal, "")
		return nil, ErrClosed
	}
	return conn, nil
}
