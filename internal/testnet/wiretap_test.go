package testnet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// wiretap stands in front of every node of a network, at the address that the
// directory lists and with the node's key, and passes on what others say to it.
// So it sees every stream between any two neighbours as it is within TLS, and
// can change it: whatever a tampering relay writes, the tap behind it can write
// in its place.
type wiretap struct {
	layout  *Layout
	taps    []*tap // of node N at N-1
	entropy *entropy

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex                  // guards what follows, and all channels
	faults   []string                    // what no honest neighbour does
	dials    []dialled                   // all connections
	circuits []*tappedCircuit            // of the people whose entropy this is
	parents  map[[32]byte]*tappedChannel // by the hash of the CREATE that it was told to send
	services []byte                      // what exits said to swarms for clients, and heard
	flip     *flip
}

// tap is the wiretap's place in front of one node.
type tap struct {
	node      Entry
	cert      tls.Certificate
	real      *net.UDPConn // the node's socket
	transport *quic.Transport
	listener  *quic.Listener
}

// dialled is a connection that somebody made.
type dialled struct {
	to       int
	from     identity.NodeID // if fromNode
	fromNode bool
	addr     string
	protocol string
}

// startTapped runs a network behind a wiretap that knows people's randomness.
func startTapped(t *testing.T, nodes, swarm int, e *entropy) (*Network, *wiretap) {
	t.Helper()
	l, err := Prepare(t.TempDir(), nodes, swarm)
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{layout: l, entropy: e, parents: map[[32]byte]*tappedChannel{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	t.Cleanup(w.close)
	for _, e := range l.Nodes {
		if err := w.stand(e); err != nil {
			t.Fatal(err)
		}
	}
	for i, tap := range w.taps {
		w.wg.Go(func() { w.accept(i, tap) })
	}
	n, err := Start(l, Config{Socket: func(n int, _ netip.AddrPort) (net.PacketConn, error) { return w.taps[n-1].real, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, w
}

// stand takes the place of one node.
func (w *wiretap) stand(e Entry) error {
	key, err := readIdentity(e.Dir)
	if err != nil {
		return err
	}
	tap := &tap{node: e}
	if tap.cert, err = certify(key); err != nil {
		return err
	}
	udp := func(port uint16) (*net.UDPConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Node.Addr.Addr(), port)))
	}
	if tap.real, err = udp(0); err != nil {
		return err
	}
	front, err := udp(e.Node.Addr.Port())
	if err != nil {
		return err
	}
	tap.transport = &quic.Transport{Conn: front}
	c := plainTLS(link.ProtocolCells, link.ProtocolService)
	c.Certificates = []tls.Certificate{tap.cert}
	c.ClientAuth = tls.RequestClientCert
	w.taps = append(w.taps, tap)
	tap.listener, err = tap.transport.Listen(c, tapQUIC())
	return err
}

func readIdentity(dir string) (suite.SigningKey, error) {
	b, err := os.ReadFile(filepath.Join(dir, "identity.key"))
	if err != nil {
		return suite.SigningKey{}, err
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return suite.SigningKey{}, err
	}
	return suite.SigningKeyFrom(seed)
}

// certify makes a certificate that holds a node's key; nothing else counts.
func certify(key suite.SigningKey) (tls.Certificate, error) {
	priv := key.Ed25519()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, priv.Public(), priv)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, err
}

func plainTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		NextProtos: protocols, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, // the tap stands in front of a node of this process
	}
}

func tapQUIC() *quic.Config {
	return &quic.Config{
		MaxIdleTimeout: 5 * time.Second, KeepAlivePeriod: time.Second,
		MaxIncomingStreams: 1 << 12, MaxIncomingUniStreams: 1 << 12, InitialStreamReceiveWindow: 1 << 20, InitialConnectionReceiveWindow: 1 << 21,
	}
}

func (w *wiretap) close() {
	w.cancel()
	for _, tap := range w.taps {
		if tap.listener != nil {
			_ = tap.listener.Close()
		}
		_ = tap.transport.Close()
		_ = tap.transport.Conn.Close()
		_ = tap.real.Close()
	}
	w.wg.Wait()
}

func (w *wiretap) fault(format string, a ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faultLocked(format, a...)
}

func (w *wiretap) faultLocked(format string, a ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, a...))
}

func (w *wiretap) accept(i int, tap *tap) {
	for {
		conn, err := tap.listener.Accept(w.ctx)
		if err != nil {
			return
		}
		w.wg.Go(func() { w.connection(i, tap, conn) })
	}
}

// connection passes one connection on to the node, as from the one who made it.
func (w *wiretap) connection(i int, tap *tap, conn *quic.Conn) {
	defer conn.CloseWithError(0, "")
	state := conn.ConnectionState().TLS
	d := dialled{to: i, addr: conn.RemoteAddr().String(), protocol: state.NegotiatedProtocol}
	c := plainTLS(d.protocol)
	if len(state.PeerCertificates) > 0 {
		from := w.holder(state.PeerCertificates[0])
		if from == nil {
			w.fault("somebody who is no node presented a certificate to node %d", i+1)
			return
		}
		d.from, d.fromNode = from.node.Node.ID, true
		c.Certificates = []tls.Certificate{from.cert}
	}
	w.mu.Lock()
	w.dials = append(w.dials, d)
	w.mu.Unlock()
	up, err := tap.transport.Dial(w.ctx, tap.real.LocalAddr(), c, tapQUIC())
	if err != nil {
		return
	}
	defer up.CloseWithError(0, "")
	stop := context.AfterFunc(up.Context(), func() { _ = conn.CloseWithError(0, "") })
	defer stop()
	var streams sync.WaitGroup
	defer streams.Wait()
	if d.protocol == link.ProtocolService {
		streams.Go(func() { w.tails(d, &streams, up, conn) })
	}
	for id := uint32(1); ; id++ {
		near, err := conn.AcceptStream(w.ctx)
		if err != nil {
			_ = up.CloseWithError(0, "")
			return
		}
		far, err := up.OpenStreamSync(w.ctx)
		if err != nil {
			_ = conn.CloseWithError(0, "")
			return
		}
		streams.Go(func() { w.stream(d, id, near, far) })
	}
}

// tails passes on what streams go on as (spec/link.md §4.3). They name a stream
// by its number, which is the same on both sides of the tap.
func (w *wiretap) tails(d dialled, streams *sync.WaitGroup, up, conn *quic.Conn) {
	for {
		far, err := up.AcceptUniStream(w.ctx)
		if err != nil {
			return
		}
		near, err := conn.OpenUniStreamSync(w.ctx)
		if err != nil {
			return
		}
		s := &tappedService{w: w, dialled: d, client: true}
		streams.Go(func() {
			// Nothing is written for long: its end has to be passed on by itself.
			stop := context.AfterFunc(near.Context(), func() { far.CancelRead(0) })
			defer stop()
			passBytes(far, near, s.toward)
		})
	}
}

// holder returns the tap of the node whose key is in a certificate.
func (w *wiretap) holder(cert *x509.Certificate) *tap {
	for _, tap := range w.taps {
		if fmt.Sprintf("%x", cert.PublicKey) == tap.node.Node.ID.String() {
			return tap
		}
	}
	return nil
}

// stream passes one stream on, in both directions.
func (w *wiretap) stream(d dialled, id uint32, near, far *quic.Stream) {
	var both sync.WaitGroup
	if d.protocol == link.ProtocolService {
		s := &tappedService{w: w, dialled: d}
		both.Go(func() { passBytes(near, far, s.away) })
		both.Go(func() { passBytes(far, near, s.toward) })
		both.Wait()
		return
	}
	ch := &tappedChannel{w: w, id: id, dialled: d, noise: -1, done: make(chan struct{})}
	both.Go(func() { w.passCells(near, far, ch, false) })
	both.Go(func() { w.passCells(far, near, ch, true) })
	both.Wait()
	close(ch.done)
}

// passCells passes on whole cells; anything else is a fault.
func (w *wiretap) passCells(from, to *quic.Stream, ch *tappedChannel, toward bool) {
	for {
		var cell onion.Cell
		_, err := io.ReadFull(from, cell[:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			w.fault("a stream to node %d ended within a cell", ch.to+1)
		}
		if err != nil {
			passEnd(to, err)
			return
		}
		ch.see(&cell, toward)
		if _, err := to.Write(cell[:]); err != nil {
			passRefusal(from, err)
			return
		}
	}
}

// reading and writing are the two directions of a stream.
type (
	reading interface {
		io.Reader
		CancelRead(quic.StreamErrorCode)
	}
	writing interface {
		io.WriteCloser
		CancelWrite(quic.StreamErrorCode)
	}
)

func passBytes(from reading, to writing, see func([]byte)) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			see(buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				passRefusal(from, err)
				return
			}
		}
		if err != nil {
			passEnd(to, err)
			return
		}
	}
}

// passEnd ends a direction as its other end did.
func passEnd(to writing, err error) {
	var reset *quic.StreamError
	switch {
	case err == io.EOF:
		_ = to.Close()
	case errors.As(err, &reset):
		to.CancelWrite(reset.ErrorCode)
	default:
		to.CancelWrite(0)
	}
}

// passRefusal tells the writer that its reader wants no more.
func passRefusal(from reading, err error) {
	var reset *quic.StreamError
	if errors.As(err, &reset) {
		from.CancelRead(reset.ErrorCode)
		return
	}
	from.CancelRead(0)
}

// tappedService is a stream between an exit, or a member, and a member. What
// members say to one another is about mailboxes and is not kept.
type tappedService struct {
	dialled
	w      *wiretap
	client bool // the exit said so, in the first byte
	begun  bool
}

func (s *tappedService) away(b []byte) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if !s.begun {
		s.begun, s.client = true, b[0] == 'C'
	}
	if s.client {
		s.tamper(b)
		s.w.services = append(s.w.services, b...)
	}
}

func (s *tappedService) toward(b []byte) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.client {
		s.w.services = append(s.w.services, b...)
	}
}
