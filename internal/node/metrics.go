package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// metricsTimeout bounds a request's headers and answer: the reader is a
	// scraper on this machine.
	metricsTimeout = 10 * time.Second
	// metricsShutdown is how long requests under way may take when closing.
	metricsShutdown = time.Second
)

// metricsServer serves /metrics and /healthz.
type metricsServer struct {
	listener net.Listener
	http     *http.Server
	done     chan error
	failed   atomic.Bool // the node cannot go on
	run      string      // names this run of a node on its page
}

// runHeader names the run of a node that answers: once it has ended, another
// node of the machine may have its address (RunInfo).
const runHeader = "Sotto-Run"

// serveMetrics listens on address, which must be of the loopback interface: the
// figures say nothing of clients, but are nobody else's business.
func serveMetrics(address string, registry *prometheus.Registry) (*metricsServer, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("node: metrics address: %w", err)
	}
	if !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("node: metrics address %v is not loopback", ap)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	m := &metricsServer{listener: l, done: make(chan error, 1), run: rand.Text()}
	mux := http.NewServeMux()
	page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(runHeader, m.run)
		page.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if m.failed.Load() {
			http.Error(w, "failed: see the log", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n") // a scraper that has gone is no failure of ours
	})
	m.http = &http.Server{Handler: mux, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout}
	go func() { m.done <- m.http.Serve(l) }()
	return m, nil
}

func (m *metricsServer) addr() string { return m.listener.Addr().String() }

func (m *metricsServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), metricsShutdown)
	defer cancel()
	err := m.http.Shutdown(ctx)
	if err != nil {
		err = m.http.Close()
	}
	if served := <-m.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
