package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"sotto/internal/directory"
	"sotto/internal/onion"
	"sotto/internal/simnet"
	"sotto/internal/suite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds is a reproducible source of key material for tests.
type seeds byte

func (s *seeds) Read(p []byte) (int, error) {
	for i := range p {
		*s++
		p[i] = byte(*s)*31 + byte(i)
	}
	return len(p), nil
}

// world is a local network's directory and keys, on simulated or real sockets.
type world struct {
	t     testing.TB
	nodes []directory.LocalNode
	dir   directory.Source
	sim   *simnet.Net // nil: loopback
}

func newWorld(t testing.TB, n int, sim *simnet.Net) *world {
	t.Helper()
	var rand seeds
	port := uint16(4000)
	network, nodes, err := directory.Local(directory.LocalConfig{
		Nodes: n, Swarm: 1, Port: port, Created: time.Unix(1_700_000_000, 0), Rand: &rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := network.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, nodes: nodes, dir: directory.Fixed(dir), sim: sim}
}

func (w *world) socket(addr netip.AddrPort) net.PacketConn {
	w.t.Helper()
	var pc net.PacketConn
	var err error
	if w.sim != nil {
		pc, err = w.sim.PacketConn(addr)
	} else {
		pc, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), 0)))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return pc
}

// node starts an endpoint with node i's key and returns what to dial.
func (w *world) node(i int) (*Endpoint, directory.Node) {
	w.t.Helper()
	n := w.nodes[i]
	e := w.endpoint(n.Node.Addr, n.Identity)
	n.Node.Addr = e.LocalAddr().(*net.UDPAddr).AddrPort()
	return e, n.Node
}

// client starts an endpoint without a key.
func (w *world) client() *Endpoint {
	return w.endpoint(netip.MustParseAddrPort("127.0.0.1:0"), suite.SigningKey{})
}

func (w *world) endpoint(addr netip.AddrPort, key suite.SigningKey) *Endpoint {
	w.t.Helper()
	e, err := NewEndpoint(w.socket(addr), Config{Identity: key, Directory: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func closeAll(t testing.TB, es ...*Endpoint) {
	t.Helper()
	for _, e := range es {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pair opens a channel from a to b.
func pair(t testing.TB, a, b *Endpoint, to directory.Node) (near, far *Channel, l *Link) {
	t.Helper()
	ctx := timeout(t)
	out, err := a.Get(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	in, err := b.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	near, err = out.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := near.WriteCells(numbered(0)); err != nil {
		t.Fatal(err)
	}
	far, err = in.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var c onion.Cell
	if err := far.ReadCell(&c); err != nil {
		t.Fatal(err)
	}
	return near, far, in
}

func numbered(i int) *onion.Cell {
	var c onion.Cell
	for j := range c {
		c[j] = byte(i + j)
	}
	c.SetHeader(uint32(i), onion.CmdRelay)
	return &c
}

func TestCellsBothWays(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	near, far, in := pair(t, a, b, node)
	if _, isNode := in.Peer(); isNode {
		t.Error("a client is taken for a node")
	}
	if near.CircID() != 1 || far.CircID() != 1 {
		t.Errorf("circuit ids %d and %d, want 1", near.CircID(), far.CircID())
	}
	const cells = 500
	done := make(chan error, 1)
	go func() {
		var out []*onion.Cell
		for i := range cells {
			out = append(out, numbered(i))
		}
		for chunk := range slices.Chunk(out, 70) {
			if err := far.WriteCells(chunk...); err != nil {
				done <- err
				return
			}
		}
		done <- far.CloseWrite()
	}()
	var c onion.Cell
	for i := range cells {
		if err := near.ReadCell(&c); err != nil {
			t.Fatal(err)
		}
		if c != *numbered(i) {
			t.Fatalf("cell %d differs", i)
		}
	}
	if err := near.ReadCell(&c); err != io.EOF {
		t.Fatalf("after the last cell: got %v, want EOF", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPeerIsKnown(t *testing.T) {
	w := newWorld(t, 2, nil)
	a, _ := w.node(0)
	b, node := w.node(1)
	defer closeAll(t, a, b)
	_, _, in := pair(t, a, b, node)
	if peer, ok := in.Peer(); !ok || peer != w.nodes[0].Node.ID {
		t.Fatalf("accepted link's peer is %v, %v", peer, ok)
	}
}

func TestWrongNodeIsRefused(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	node.ID = w.nodes[0].Node.ID // the address of one, the key of another
	if _, err := a.Get(timeout(t), node); err == nil {
		t.Fatal("linked to another node than the one that was dialled")
	}
	if _, err := a.Get(timeout(t), node); !errors.Is(err, ErrBackoff) {
		t.Fatalf("second attempt at once: got %v, want ErrBackoff", err)
	}
}

func TestStrangerWithCertificateIsRefused(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	var rand seeds = 99
	key, err := suite.NewSigningKey(&rand)
	if err != nil {
		t.Fatal(err)
	}
	a := w.endpoint(netip.MustParseAddrPort("127.0.0.1:0"), key)
	defer closeAll(t, a, b)
	l, err := a.Get(timeout(t), node)
	if err != nil {
		return // refused at once
	}
	select {
	case <-l.Done():
	case <-timeout(t).Done():
		t.Fatal("a node that the directory does not list keeps its link")
	}
}

func TestServiceBetweenNodes(t *testing.T) {
	w := newWorld(t, 2, nil)
	a, _ := w.node(0)
	b, node := w.node(1)
	defer closeAll(t, a, b)
	ctx := timeout(t)
	out, err := a.DialService(ctx, node)
	if err != nil {
		t.Fatal(err)
	}
	in, err := b.AcceptService(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if in.Peer() != w.nodes[0].Node.ID || out.Peer() != node.ID {
		t.Fatal("service connection with the wrong peers")
	}
	near, err := out.OpenStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	far, err := in.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(far); err != nil || string(got) != "question" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := far.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(near); err != nil || string(got) != "answer" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// A client that speaks the service protocol on its own account is refused by
// the node, not only by its own endpoint.
func TestServiceRefusesClients(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	if _, err := a.DialService(timeout(t), node); !errors.Is(err, ErrNoIdentity) {
		t.Fatalf("client's DialService: got %v, want ErrNoIdentity", err)
	}
	conn, err := a.dial(timeout(t), node, ProtocolService)
	if err != nil {
		return
	}
	select {
	case <-conn.Context().Done():
	case <-timeout(t).Done():
		t.Fatal("a client keeps a service connection")
	}
}

func TestOldKeyExchangeIsRefused(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	for name, change := range map[string]func(*tls.Config){
		"classical key exchange": func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} },
		"unknown version":        func(c *tls.Config) { c.NextProtos = []string{"sotto-link/2"} },
	} {
		conf := a.dialTLS(ProtocolCells, node.ID)
		change(conf)
		_, err := a.transport.Dial(timeout(t), net.UDPAddrFromAddrPort(node.Addr), conf, dialConfig())
		var refused *quic.TransportError
		if !errors.As(err, &refused) || !refused.ErrorCode.IsCryptoError() {
			t.Errorf("%s: got %v, want a TLS alert", name, err)
		}
	}
}

func TestAbortCarriesItsCode(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	near, far, _ := pair(t, a, b, node)
	far.Abort(7)
	var c onion.Cell
	err := near.ReadCell(&c)
	var reset *ResetError
	if !errors.As(err, &reset) || reset.Code != 7 || !reset.Remote {
		t.Fatalf("got %v, want a remote reset with code 7", err)
	}
}

func TestDeadlineLosesNothing(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	near, far, _ := pair(t, a, b, node)
	cell := numbered(3)
	if _, err := far.str.Write(cell[:100]); err != nil {
		t.Fatal(err)
	}
	if err := near.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var c onion.Cell
	var timedOut net.Error
	if err := near.ReadCell(&c); !errors.As(err, &timedOut) || !timedOut.Timeout() {
		t.Fatalf("got %v, want a timeout", err)
	}
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := far.str.Write(cell[100:]); err != nil {
		t.Fatal(err)
	}
	if err := near.ReadCell(&c); err != nil || c != *cell {
		t.Fatalf("after the deadline: %v", err)
	}
	if _, err := far.str.Write(cell[:5]); err != nil {
		t.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := near.ReadCell(&c); !errors.Is(err, ErrPartialCell) {
		t.Fatalf("end within a cell: got %v, want ErrPartialCell", err)
	}
}

// A node that vanishes is noticed within the idle timeout, left alone for its
// backoff, and found again when it returns. In virtual time.
func TestReconnectWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 30 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		a, _ := w.node(0)
		b, node := w.node(1)
		defer closeAll(t, a, b)
		ctx := context.Background()
		first, err := a.Get(ctx, node)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := a.Get(ctx, node); err != nil || again != first {
			t.Fatalf("a live link is not reused: %v", err)
		}
		sim.SetDown(node.Addr.Addr(), true)
		lost := time.Now()
		<-first.Done()
		if d := time.Since(lost); d > maxIdle+keepAlive {
			t.Errorf("dead neighbour noticed after %v", d)
		}
		var attempts, refusals int
		var longest time.Duration
		for start := time.Now(); time.Since(start) < time.Minute; {
			_, err := a.Get(ctx, node)
			var backoff *BackoffError
			if errors.As(err, &backoff) {
				refusals++
				longest = max(longest, backoff.Wait)
				time.Sleep(backoff.Wait)
				continue
			}
			if err == nil {
				t.Fatal("linked to a dead node")
			}
			attempts++
		}
		if attempts < 6 || attempts > 20 || refusals == 0 || longest > backoffMax {
			t.Errorf("%d attempts, %d refusals, longest pause %v in a minute", attempts, refusals, longest)
		}
		sim.SetDown(node.Addr.Addr(), false)
		for back := time.Now(); ; {
			if _, err := a.Get(ctx, node); err == nil {
				break
			}
			if time.Since(back) > 2*backoffMax {
				t.Fatal("node that returned is not found")
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// Silence is not death while both ends live.
func TestIdleLinkLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 100 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		near, far, in := pair(t, a, b, node)
		time.Sleep(10 * time.Minute)
		select {
		case <-in.Done():
			t.Fatal("idle link died")
		default:
		}
		if err := far.WriteCells(numbered(1)); err != nil {
			t.Fatal(err)
		}
		var c onion.Cell
		if err := near.ReadCell(&c); err != nil {
			t.Fatal(err)
		}
	})
}

// Closing an endpoint fails what waits on it, and tells its neighbours.
func TestCloseEndsEverything(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	near, _, in := pair(t, a, b, node)
	failed := make(chan error, 2)
	go func() {
		_, err := b.Accept(context.Background())
		failed <- err
	}()
	go func() {
		var c onion.Cell
		failed <- near.ReadCell(&c)
	}()
	closeAll(t, b, b)
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLost) {
			t.Errorf("got %v, want ErrClosed or ErrLost", err)
		}
	}
	<-in.Done()
	if _, err := b.Get(timeout(t), node); !errors.Is(err, ErrClosed) {
		t.Errorf("Get on a closed endpoint: %v", err)
	}
	if _, err := a.Accept(timeout(t)); !errors.Is(err, ErrNotListening) {
		t.Errorf("Accept on a client: %v", err)
	}
}

// Many callers share one attempt, and one that gives up does not end it.
func TestGetIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 200 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		impatient, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		links := make(chan *Link, 10)
		for range cap(links) {
			go func() {
				l, err := a.Get(context.Background(), node)
				if err != nil {
					t.Error(err)
				}
				links <- l
			}()
		}
		if _, err := a.Get(impatient, node); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("impatient caller: %v", err)
		}
		one := <-links
		for range cap(links) - 1 {
			if l := <-links; l != one {
				t.Fatal("callers got different links")
			}
		}
		if _, err := b.Accept(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(b.acceptLinks); n != 0 {
			t.Fatalf("%d further connections were made", n)
		}
	})
}

// A node that restarts is noticed by its old neighbours with the next cell that
// they send, before the idle timeout.
func TestRestartIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 10 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a)
		l, err := a.Get(context.Background(), node)
		if err != nil {
			t.Fatal(err)
		}
		ch, err := l.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		sim.SetDown(node.Addr.Addr(), true) // its farewell is lost
		closeAll(t, b)
		sim.SetDown(node.Addr.Addr(), false)
		b, _ = w.node(1)
		defer closeAll(t, b)
		start := time.Now()
		if err := ch.WriteCells(numbered(1)); err != nil {
			t.Fatal(err)
		}
		<-l.Done()
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("restart noticed after %v", d)
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for failures := range 100 {
		want := backoffMax
		if failures < 5 {
			want = min(backoffMax, backoffMin<<failures)
		}
		if d := backoff(failures); d < want/2 || d > want {
			t.Fatalf("pause %v after %d failures, want %v to %v", d, failures, want/2, want)
		}
	}
}
