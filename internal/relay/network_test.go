package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/simnet"
	"sotto/internal/suite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is some relays on simulated or loopback sockets.
type network struct {
	t     testing.TB
	sim   *simnet.Net // nil: loopback
	dir   directory.Source
	nodes []*node
	log   *slog.Logger // of all; nil: none
}

// node is one relay and its secrets.
type node struct {
	directory.Node
	identity suite.SigningKey
	onion    suite.DHPrivate
	pc       net.PacketConn
	endpoint *link.Endpoint
	relay    *Relay
	exit     *services
	registry *prometheus.Registry
	stop     func() // ends Serve and the endpoint, once
}

// newNetwork starts n relays with the given limits.
func newNetwork(t testing.TB, n int, sim *simnet.Net, limits Limits) *network {
	t.Helper()
	return newLoggedNetwork(t, n, sim, limits, nil)
}

func newLoggedNetwork(t testing.TB, n int, sim *simnet.Net, limits Limits, log *slog.Logger) *network {
	t.Helper()
	w := &network{t: t, sim: sim, log: log}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(i+1))
	}
	g := directory.Document{Name: "test", Created: time.Unix(1_700_000_000, 0)}
	for _, n := range w.nodes {
		g.Nodes = append(g.Nodes, n.Node)
	}
	key, err := suite.NewSigningKey(rand.Reader)
	check(t, err)
	net, err := directory.SignDocument(key, g)
	check(t, err)
	dir, err := net.Directory()
	check(t, err)
	w.dir = directory.Fixed(dir)
	for _, n := range w.nodes {
		w.start(n, limits)
	}
	return w
}

func (w *network) newNode(i int) *node {
	n := &node{exit: newServices(), registry: prometheus.NewRegistry()}
	var err error
	n.identity, err = suite.NewSigningKey(rand.Reader)
	check(w.t, err)
	n.onion, err = suite.NewDHPrivate(rand.Reader)
	check(w.t, err)
	n.pc = w.socket(netip.AddrFrom4([4]byte{127, byte(i), 0, 1}))
	n.Node = directory.Node{
		ID:       identity.NodeID(n.identity.Public()),
		Operator: fmt.Sprintf("operator-%d", i),
		Addr:     n.pc.LocalAddr().(*net.UDPAddr).AddrPort(),
		OnionKey: n.onion.Public(),
	}
	return n
}

func (w *network) socket(host netip.Addr) net.PacketConn {
	w.t.Helper()
	addr := netip.AddrPortFrom(host, 0)
	var pc net.PacketConn
	var err error
	if w.sim != nil {
		pc, err = w.sim.PacketConn(addr)
	} else {
		pc, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	}
	check(w.t, err)
	return pc
}

func (w *network) start(n *node, limits Limits) {
	w.t.Helper()
	var err error
	n.endpoint, err = link.NewEndpoint(n.pc, link.Config{Identity: n.identity, Directory: w.dir, Logger: w.log})
	check(w.t, err)
	n.relay = New(Config{
		Identity: n.ID, OnionSecret: n.onion, Directory: w.dir,
		Endpoint: n.endpoint, Exit: n.exit, Limits: limits, Metrics: NewMetrics(n.registry), Logger: w.log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.relay.Serve(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		check(w.t, <-done)
		check(w.t, n.endpoint.Close())
		n.exit.wg.Wait()
	})
}

// close stops all relays and checks that nothing is left of any circuit.
func (w *network) close() {
	w.t.Helper()
	for _, n := range w.nodes {
		n.stop()
		n.checkEmpty(w.t)
	}
}

// checkEmpty checks that no circuit has left anything.
func (n *node) checkEmpty(t testing.TB) {
	t.Helper()
	n.relay.mu.Lock()
	defer n.relay.mu.Unlock()
	if c, m, h := len(n.relay.circuits), n.relay.memory.total.Load(), n.relay.halfOpen.len(); c != 0 || m != 0 || h != 0 {
		t.Errorf("%s holds %d circuits, %d bytes, %d half-open channels", n.Operator, c, m, h)
	}
	if open := n.relay.targets.len(); open != 0 {
		t.Errorf("%s counts %d streams", n.Operator, open)
	}
	if open := n.exit.open(); open != 0 {
		t.Errorf("%s holds %d service streams", n.Operator, open)
	}
}

// metric returns the sum of a metric over its labels, or of the one series with
// the given label value.
func (n *node) metric(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	families, err := n.registry.Gather()
	check(t, err)
	for _, f := range families {
		if f.GetName() != "sotto_relay_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// services is an exit's other side: streams within the process.
type services struct {
	serve func(io.ReadWriteCloser) // what the far end does; nil: echo
	dial  func(context.Context, identity.NodeID) error

	mu      sync.Mutex // guards streams
	streams int
	wg      sync.WaitGroup
}

func newServices() *services { return &services{} }

func (s *services) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams
}

func (s *services) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams += n
}

// OpenStream implements ExitDialer.
func (s *services) OpenStream(ctx context.Context, node identity.NodeID) (io.ReadWriteCloser, error) {
	if s.dial != nil {
		if err := s.dial(ctx, node); err != nil {
			return nil, err
		}
	}
	near, far := newPipe()
	serve := s.serve
	if serve == nil {
		serve = echo
	}
	s.count(1)
	s.wg.Go(func() {
		defer s.count(-1)
		defer far.Close()
		serve(far)
	})
	return near, nil
}

func echo(rwc io.ReadWriteCloser) { _, _ = io.Copy(rwc, rwc) }

// pipe is one end of a stream within the process, with half-close.
type pipe struct {
	*io.PipeReader
	*io.PipeWriter
}

func newPipe() (a, b *pipe) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return &pipe{r1, w2}, &pipe{r2, w1}
}

func (p *pipe) CloseWrite() error { return p.PipeWriter.Close() }

func (p *pipe) Close() error {
	_ = p.PipeReader.Close()
	return p.PipeWriter.Close()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
