package circuit_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/relay"
	"sotto/internal/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket opens a packet connection; port 0 takes a free one.
type socket func(netip.AddrPort) (net.PacketConn, error)

// network is a directory of relays whose exits reach an echo at every node.
type network struct {
	t      testing.TB
	open   socket
	local  []directory.LocalNode
	source directory.Source
	exit   relay.ExitDialer // behind every exit
	evil   *tamperer
	change func(*relay.Config) // of nodes that are started from now on
	ends   []*link.Endpoint    // of node i; closed while it is dead
	relays []*relay.Relay      // of node i, unless it is evil
	stops  []func()            // stops node i, once
}

// startNetwork starts nodes relays behind which is an echo; evil takes the place
// of some.
func startNetwork(t testing.TB, nodes int, port uint16, open socket, evil *tamperer) *network {
	t.Helper()
	return startNetworkOf(t, nodes, port, open, evil, echoDialer{})
}

// startNetworkOf is startNetwork with another service behind the exits.
func startNetworkOf(t testing.TB, nodes int, port uint16, open socket, evil *tamperer, exit relay.ExitDialer) *network {
	t.Helper()
	n, local, err := directory.Local(directory.LocalConfig{
		Nodes: nodes, Port: port, Created: time.Now().Add(-time.Hour), Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	w := &network{
		t: t, open: open, local: local, source: directory.Fixed(d), exit: exit, evil: evil,
		ends: make([]*link.Endpoint, nodes), relays: make([]*relay.Relay, nodes), stops: make([]func(), nodes),
	}
	for i := range local {
		if err := w.startNode(i); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// startNode starts node i, which does not run.
func (w *network) startNode(i int) error {
	pc, err := w.open(w.local[i].Node.Addr)
	if err != nil {
		return err
	}
	e, err := link.NewEndpoint(pc, link.Config{Identity: w.local[i].Identity, Directory: w.source})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.ends[i] = e
	cfg := relay.Config{
		Identity: w.local[i].Node.ID, OnionSecret: w.local[i].Onion, Directory: w.source,
		Endpoint: e, Exit: w.exit,
	}
	if w.change != nil {
		w.change(&cfg)
	}
	r := relay.New(cfg)
	w.relays[i] = r
	w.stops[i] = sync.OnceFunc(func() {
		cancel()
		_ = e.Close()
		<-done
	})
	go func() {
		defer close(done)
		if w.evil != nil && w.evil.is(i) {
			w.evil.serve(ctx, w, w.local[i], e)
			return
		}
		_ = r.Serve(ctx)
	}()
	return nil
}

func (w *network) stop() {
	var all sync.WaitGroup
	for _, stop := range w.stops {
		all.Go(stop)
	}
	all.Wait()
}

// node returns what the directory says of node i.
func (w *network) node(i int) directory.Node { return w.local[i].Node }

// index returns the i of node(i).
func (w *network) index(id identity.NodeID) int {
	for i := range w.local {
		if w.local[i].Node.ID == id {
			return i
		}
	}
	w.t.Fatalf("no node %v", id)
	return -1
}

// client is a Manager with its endpoint.
type client struct {
	*circuit.Manager
	endpoint *link.Endpoint
	events   chan circuit.Event
}

// clientAddr is where simulated clients live.
var clientAddr = netip.MustParseAddrPort("127.200.0.1:0")

func (w *network) newClient(change func(*circuit.Config)) *client {
	w.t.Helper()
	return w.newClientAt(clientAddr, change)
}

// newClientAt is newClient at an address of its own.
func (w *network) newClientAt(addr netip.AddrPort, change func(*circuit.Config)) *client {
	w.t.Helper()
	pc, err := w.open(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := link.NewEndpoint(pc, link.Config{Directory: w.source})
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{endpoint: e, events: make(chan circuit.Event, 1000)}
	cfg := circuit.Config{Directory: w.source, Endpoint: e, OnEvent: func(e circuit.Event) {
		select {
		case c.events <- e:
		default: // a benchmark does not read them
		}
	}}
	if change != nil {
		change(&cfg)
	}
	if c.Manager, err = circuit.NewManager(cfg); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (c *client) stop(t testing.TB) {
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.endpoint.Close(); err != nil {
		t.Error(err)
	}
}

// until waits for events until ok holds.
func (c *client) until(t testing.TB, what string, ok func([]circuit.PathInfo) bool) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !ok(c.Paths()) {
		select {
		case <-c.events:
		case <-limit.C:
			t.Fatalf("%s: not within 30 s; paths: %+v", what, c.Paths())
		}
	}
}

func count(paths []circuit.PathInfo, state circuit.PathState) int {
	n := 0
	for _, p := range paths {
		if p.State == state {
			n++
		}
	}
	return n
}

// ready reports whether n idle circuits stand and none is being built.
func ready(n int) func([]circuit.PathInfo) bool {
	return func(p []circuit.PathInfo) bool {
		return count(p, circuit.PathReady) == n && count(p, circuit.PathBuilding) == 0
	}
}

// echo sends p and expects it back.
func echo(s *circuit.Stream, p []byte) error {
	if _, err := s.Write(p); err != nil {
		return err
	}
	got := make([]byte, len(p))
	if _, err := io.ReadFull(s, got); err != nil {
		return err
	}
	if string(got) != string(p) {
		return io.ErrNoProgress
	}
	return nil
}

// echoDialer is the service behind every exit: it says what it hears.
type echoDialer struct{}

func (echoDialer) OpenStream(context.Context, identity.NodeID) (io.ReadWriteCloser, error) {
	r, w := io.Pipe()
	return &echoStream{r, w}, nil
}

type echoStream struct {
	*io.PipeReader
	w *io.PipeWriter
}

func (e *echoStream) Write(p []byte) (int, error) { return e.w.Write(p) }
func (e *echoStream) CloseWrite() error           { return e.w.Close() }
func (e *echoStream) Close() error {
	_ = e.w.Close()
	return e.PipeReader.Close()
}

// loopback opens real sockets. All nodes listen on one port that is free at
// the first address.
func loopback(t testing.TB) (socket, uint16) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	_ = pc.Close()
	return func(a netip.AddrPort) (net.PacketConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	}, port
}

// onLoopback runs a test on real sockets.
func onLoopback(t testing.TB, nodes int, test func(w *network, c *client)) {
	t.Helper()
	open, port := loopback(t)
	w := startNetwork(t, nodes, port, open, nil)
	defer w.stop()
	c := w.newClient(nil)
	defer c.stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	test(w, c)
}

// simulated runs a test in virtual time; the caller is in a synctest bubble.
func simulated(t *testing.T, nodes int, evil *tamperer, test func(*network, *simnet.Net)) {
	t.Helper()
	n := simnet.New(simnet.Config{Latency: 5 * time.Millisecond})
	defer n.Close()
	w := startNetwork(t, nodes, 4433, n.PacketConn, evil)
	defer w.stop()
	test(w, n)
}
