package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// ErrNotLoopback is returned when asked to listen where others could reach us.
var ErrNotLoopback = errors.New("api: not a loopback address")

// Config is what a Server serves.
type Config struct {
	App   App
	Token Token
	// Pages serves everything outside /api; nil serves none.
	Pages http.Handler
	// Version is told by GET /api/v1/status.
	Version string
	// Logger gets failures that have no words for people; nil is silence.
	Logger *slog.Logger
}

// Server is the API of one profile on one address.
type Server struct {
	app      App
	token    Token
	version  string
	log      *slog.Logger
	listener net.Listener
	host     string // what Host must say
	http     *http.Server
	states   states        // tells event streams of unlocking and locking
	streams  chan struct{} // a place for each event stream

	account sync.Mutex    // held during an account call, of which one runs at a time
	stopped chan struct{} // closed when Serve stops
}

// Listen opens a TCP port of the loopback interface; port 0 takes a free one.
func Listen(address string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("api: listen address: %w", err)
	}
	if !ap.Addr().IsLoopback() {
		return nil, ErrNotLoopback
	}
	return net.Listen("tcp", address)
}

// New returns a server on a listener of Listen. Serve runs it.
func New(l net.Listener, cfg Config) *Server {
	s := &Server{
		app: cfg.App, token: cfg.Token, version: cfg.Version, log: cfg.Logger,
		listener: l, host: l.Addr().String(),
		streams: make(chan struct{}, maxStreams),
		stopped: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.http = &http.Server{
		Handler:           s.guard(s.routes(cfg.Pages)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	return s
}

// URL returns the server's address without the token.
func (s *Server) URL() string { return "http://" + s.host + "/" }

// Link returns the address for the browser. The token stands in the fragment,
// which browsers send to nobody.
func (s *Server) Link() string { return s.URL() + "#token=" + s.token.Reveal() }

// Serve answers requests until ctx ends, then ends the event streams, lets
// answers under way finish for a moment, and returns nil. It closes the
// listener and runs once.
func (s *Server) Serve(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(s.listener) }()
	select {
	case err := <-done:
		close(s.stopped)
		return fmt.Errorf("api: serving: %w", err)
	case <-ctx.Done():
	}
	close(s.stopped)
	late, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	if s.http.Shutdown(late) != nil {
		_ = s.http.Close()
	}
	<-done
	return nil
}

// noDeadlines lifts the limits on time from one request, which then keeps its
// own.
func noDeadlines(w http.ResponseWriter) error {
	rc := http.NewResponseController(w)
	return errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}))
}
