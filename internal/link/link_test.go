package link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"sotto/internal/onion"
	"sotto/internal/suite"
)

func TestMain(m *testing.M) {
	// Simulated sockets have no buffers of the system to complain about.
	if err := os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
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
	if _, err := a.Get(timeout(t), node); !errors.Is(err, ErrIdentity) {
		t.Fatalf("got %v, want ErrIdentity", err)
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
		conf := a.dialTLS(ProtocolCells, node.ID, netip.Addr{})
		change(conf)
		_, err := a.first.transport.Dial(timeout(t), net.UDPAddrFromAddrPort(node.Addr), conf, dialConfig())
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
