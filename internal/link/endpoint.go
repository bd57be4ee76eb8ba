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
	tickets    *tickets     // of connections that it dialled
	ticketKeys *ticketKeys  // for those that it accepts

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
		transport:      &quic.Transport{Conn: coalesce(pc), ConnectionIDLength: connIDLength},
		tickets:        newTickets(cfg.Now),
		ticketKeys:     newTicketKeys(cfg.Now),
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

// LocalAddr returns the socket's address.
func (e *Endpoint) LocalAddr() net.Addr { return e.pc.LocalAddr() }

// ForgetSessions throws away all session tickets, so that the next connections
// cannot be joined to earlier ones by them (spec/link.md §5.4).
func (e *Endpoint) ForgetSessions() { e.tickets.forget() }

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
