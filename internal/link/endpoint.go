package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
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
	// Now is the wall clock, of backoff and tickets. Default: time.Now.
	Now func() time.Time
	// Sockets opens further sockets to dial from, bound to one of the
	// computer's addresses: OpenSocket, or a test's. With it, connections that
	// the endpoint dialled move from one network to the next (spec/link.md
	// §5.5). Default: the endpoint has the one socket that it was given.
	Sockets func(local netip.Addr) (net.PacketConn, error)
	// Route says from which of the computer's addresses remote is reached now,
	// or that it is not. Used with Sockets. Default: the system is asked.
	Route func(remote netip.AddrPort) (netip.Addr, bool)
	// Rand is where link padding draws from, on several goroutines at a time.
	// Default: crypto/rand.
	Rand io.Reader
}

// Endpoint listens (a node's) and dials, on one socket or on as many as the
// computer has addresses.
type Endpoint struct {
	cfg      Config
	cert     tls.Certificate
	first    *carrier       // nil for an endpoint that opens its own
	listener *quic.Listener // nil for a client

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

	mu       sync.Mutex              // guards what follows
	conns    map[*quic.Conn]*tracked // live ones of both kinds; nil once closed
	carriers map[netip.Addr]*carrier // by their local address, but for the first
	retired  []*carrier              // that connections have left
}

// NewEndpoint starts an endpoint on pc, which it owns from then on: Close
// closes it. A client's pc may be nil if there are Config.Sockets.
func NewEndpoint(pc net.PacketConn, cfg Config) (*Endpoint, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Route == nil {
		cfg.Route = systemRoute
	}
	if pc == nil && (cfg.Sockets == nil || !cfg.Identity.IsZero()) {
		return nil, errors.New("link: an endpoint needs a socket")
	}
	e := &Endpoint{
		cfg:            cfg,
		tickets:        newTickets(cfg.Now),
		ticketKeys:     newTicketKeys(cfg.Now),
		acceptLinks:    make(chan *Link, acceptQueue),
		acceptServices: make(chan *ServiceConn, acceptQueue),
		conns:          make(map[*quic.Conn]*tracked),
		carriers:       make(map[netip.Addr]*carrier),
	}
	if pc != nil {
		e.first = newCarrier(pc, netip.Addr{})
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
	if cfg.Sockets != nil {
		e.wg.Go(e.watch)
	}
	return e, nil
}

func (e *Endpoint) isNode() bool { return !e.cfg.Identity.IsZero() }

// track remembers a connection until it is closed. It reports false if the
// endpoint is closed already.
func (e *Endpoint) track(t *tracked) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		return false
	}
	e.conns[t.conn] = t
	context.AfterFunc(t.conn.Context(), func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.conns, t.conn)
		for _, c := range t.on {
			c.users--
		}
		t.on = nil
	})
	return true
}

// LocalAddr returns the address of the socket that the endpoint was given.
func (e *Endpoint) LocalAddr() net.Addr {
	if e.first == nil {
		return nil
	}
	return e.first.pc.LocalAddr()
}

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
	var errs []error
	for _, c := range e.takeCarriers() {
		errs = append(errs, c.close())
	}
	if e.first != nil {
		errs = append(errs, e.first.close())
	}
	e.links.wait()
	e.services.wait()
	e.wg.Wait()
	return errors.Join(errs...)
}
