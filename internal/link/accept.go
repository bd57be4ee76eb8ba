package link

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/quic-go/quic-go"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// listen makes the endpoint accept connections.
func (e *Endpoint) listen() error {
	if e.cfg.Directory == nil {
		return errors.New("link: a node's endpoint needs a directory")
	}
	var err error
	if e.cert, err = selfSigned(e.cfg.Identity); err != nil {
		return err
	}
	reset := quic.StatelessResetKey(resetKey(e.cfg.Identity))
	e.first.transport.StatelessResetKey = &reset
	e.first.transport.ConnContext = e.countHandshake
	e.first.transport.VerifySourceAddress = func(net.Addr) bool { return e.handshakes.Load() >= verifyAbove }
	if e.listener, err = e.first.transport.Listen(e.listenTLS(), acceptConfig()); err != nil {
		return err
	}
	e.wg.Go(e.acceptLoop)
	return nil
}

// resetKey is the key of a node's stateless resets (spec/link.md §5.7).
func resetKey(identity suite.SigningKey) []byte {
	return suite.Derive(identity.Seed(), labelReset, len(quic.StatelessResetKey{}))
}

// handshakeKey marks the context of a connection that countHandshake counted.
type handshakeKey struct{}

// countHandshake counts a connection until finish is called or it dies.
func (e *Endpoint) countHandshake(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	e.handshakes.Add(1)
	var once sync.Once
	finish := func() { once.Do(func() { e.handshakes.Add(-1) }) }
	context.AfterFunc(ctx, finish)
	return context.WithValue(ctx, handshakeKey{}, finish), nil
}

// acceptLoop hands established connections to Accept and AcceptService.
func (e *Endpoint) acceptLoop() {
	for {
		conn, err := e.listener.Accept(e.ctx)
		if err != nil {
			return
		}
		if finish, ok := conn.Context().Value(handshakeKey{}).(func()); ok {
			finish()
		}
		e.dispatch(conn)
	}
}

// dispatch queues an accepted connection by its protocol.
func (e *Endpoint) dispatch(conn *quic.Conn) {
	if !e.track(&tracked{conn: conn}) {
		_ = conn.CloseWithError(closeNormal, "")
		return
	}
	state := conn.ConnectionState().TLS
	var peer identity.NodeID
	known := false
	if id, err := certifiedNode(state.PeerCertificates); err == nil {
		peer, known = id, true
		e.links.reachable(id)
		e.services.reachable(id)
	}
	queued := false
	if state.NegotiatedProtocol == ProtocolService {
		select {
		case e.acceptServices <- &ServiceConn{conn: conn, peer: peer}:
			queued = true
		default:
		}
	} else {
		l := &Link{conn: conn, peer: peer, known: known}
		if !known {
			l.pad = e.newPad(conn)
		}
		select {
		case e.acceptLinks <- l:
			queued = true
		default:
		}
	}
	if !queued {
		e.cfg.Logger.Warn("link: accept queue is full, connection closed")
		_ = conn.CloseWithError(closeBusy, "")
	}
}

// Accept returns the next incoming link. The caller closes it.
func (e *Endpoint) Accept(ctx context.Context) (*Link, error) {
	return acceptFrom(ctx, e, e.acceptLinks)
}

// AcceptService returns the next incoming service connection, whose peer is a
// node of the directory. The caller closes it.
func (e *Endpoint) AcceptService(ctx context.Context) (*ServiceConn, error) {
	return acceptFrom(ctx, e, e.acceptServices)
}

func acceptFrom[T any](ctx context.Context, e *Endpoint, queue <-chan T) (T, error) {
	var zero T
	if e.listener == nil {
		return zero, ErrNotListening
	}
	select {
	case c := <-queue:
		return c, nil
	case <-e.ctx.Done():
		return zero, ErrClosed
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}
