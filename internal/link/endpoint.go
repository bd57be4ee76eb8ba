package link

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

var (
	// ErrClosed is returned by every method of a closed endpoint.
	ErrClosed = errors.New("link: endpoint is closed")
	// ErrNotListening is returned by Accept on a client's endpoint.
	ErrNotListening = errors.New("link: endpoint does not listen")
)

// labelReset separates the key of stateless resets from the identity key that
// it is derived from, so that a restarted node is noticed at once.
const labelReset suite.Label = suite.LabelPrefix + "link/stateless-reset"

// Config describes an endpoint.
type Config struct {
	// Identity is the node's key; the zero key makes a client, which listens
	// for nobody and presents nothing.
	Identity suite.SigningKey
	// Directory says which keys are nodes'. Needed to listen.
	Directory directory.Source
	// Logger gets refusals without any peer's name or address. Default: none.
	Logger *slog.Logger
	// Now is the clock of the backoff. Default: time.Now.
	Now func() time.Time
}

// Endpoint is one socket that listens (a node's) and dials.
type Endpoint struct {
	cfg       Config
	cert      tls.Certificate
	pc        net.PacketConn
	transport *quic.Transport
	listener  *quic.Listener // nil for a client

	links    *pool[*Link]
	services *pool[*ServiceConn]

	acceptLinks    chan *Link
	acceptServices chan *ServiceConn

	handshakes atomic.Int64 // unfinished incoming ones

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	close  func() error // once

	mu    sync.Mutex              // guards conns
	conns map[*quic.Conn]struct{} // live ones of both kinds; nil once closed
}

// NewEndpoint starts an endpoint on pc, which it owns from then on: Close
// closes it.
func NewEndpoint(pc net.PacketConn, cfg Config) (*Endpoint, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Endpoint{
		cfg:            cfg,
		pc:             pc,
		transport:      &quic.Transport{Conn: pc, ConnectionIDLength: connIDLength},
		acceptLinks:    make(chan *Link, acceptQueue),
		acceptServices: make(chan *ServiceConn, acceptQueue),
		conns:          make(map[*quic.Conn]struct{}),
	}
	e.close = sync.OnceValue(e.closeOnce)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.links = newPool(e, e.dialLink)
	e.services = newPool(e, e.dialService)
	if e.isNode() {
		if err := e.listen(); err != nil {
			e.cancel()
			return nil, err
		}
	}
	return e, nil
}

func (e *Endpoint) isNode() bool { return !e.cfg.Identity.IsZero() }

// listen makes the endpoint accept connections.
func (e *Endpoint) listen() error {
	if e.cfg.Directory == nil {
		return errors.New("link: a node's endpoint needs a directory")
	}
	var err error
	if e.cert, err = selfSigned(e.cfg.Identity); err != nil {
		return err
	}
	reset := quic.StatelessResetKey(suite.Derive(e.cfg.Identity.Seed(), labelReset, len(quic.StatelessResetKey{})))
	e.transport.StatelessResetKey = &reset
	e.transport.ConnContext = e.countHandshake
	e.transport.VerifySourceAddress = func(net.Addr) bool { return e.handshakes.Load() >= verifyAbove }
	if e.listener, err = e.transport.Listen(e.listenTLS(), acceptConfig()); err != nil {
		return err
	}
	e.wg.Go(e.acceptLoop)
	return nil
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
	if !e.track(conn) {
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
		select {
		case e.acceptLinks <- &Link{conn: conn, peer: peer, known: known}:
			queued = true
		default:
		}
	}
	if !queued {
		e.cfg.Logger.Warn("link: accept queue is full, connection closed")
		_ = conn.CloseWithError(closeBusy, "")
	}
}

// track remembers conn until it is closed, for Close. It reports false if the
// endpoint is closed already.
func (e *Endpoint) track(conn *quic.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		return false
	}
	e.conns[conn] = struct{}{}
	context.AfterFunc(conn.Context(), func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.conns, conn)
	})
	return true
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

// Get returns a live link to node: the one in use, or a new one. Concurrent
// calls share one attempt. After a failed attempt, calls fail at once with a
// *BackoffError until its pause is over.
func (e *Endpoint) Get(ctx context.Context, node directory.Node) (*Link, error) {
	return e.links.get(ctx, node)
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
	return &Link{conn: conn, peer: node.ID, known: true}, nil
}

func (e *Endpoint) dialService(ctx context.Context, node directory.Node) (*ServiceConn, error) {
	conn, err := e.dial(ctx, node, ProtocolService)
	if err != nil {
		return nil, err
	}
	return &ServiceConn{conn: conn, peer: node.ID}, nil
}

func (e *Endpoint) dial(ctx context.Context, node directory.Node, protocol string) (*quic.Conn, error) {
	if e.ctx.Err() != nil {
		return nil, ErrClosed
	}
	addr := net.UDPAddrFromAddrPort(node.Addr)
	conn, err := e.transport.Dial(ctx, addr, e.dialTLS(protocol, node.ID), dialConfig())
	if err != nil {
		return nil, err
	}
	if !e.track(conn) {
		_ = conn.CloseWithError(closeNormal, "")
		return nil, ErrClosed
	}
	return conn, nil
}

// LocalAddr returns the socket's address.
func (e *Endpoint) LocalAddr() net.Addr { return e.pc.LocalAddr() }

// Close closes every connection, telling its peer, and returns when all
// goroutines of the endpoint have ended. Later calls return the same.
func (e *Endpoint) Close() error { return e.close() }

func (e *Endpoint) closeOnce() error {
	e.cancel()
	e.mu.Lock()
	conns := e.conns
	e.conns = nil
	e.mu.Unlock()
	var closing sync.WaitGroup
	for conn := range conns {
		closing.Go(func() { _ = conn.CloseWithError(closeNormal, "") })
	}
	closing.Wait()
	if e.listener != nil {
		_ = e.listener.Close()
	}
	err := e.transport.Close()
	e.links.wait()
	e.services.wait()
	e.wg.Wait()
	if closeErr := e.pc.Close(); err == nil {
		err = closeErr
	}
	return err
}
