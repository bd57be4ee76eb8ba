package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// chainProtocol is the bare chain's ALPN.
const chainProtocol = "bench-chain"

// The windows of package link's connections, so that the chain's are no smaller.
const (
	chainStreamWindow = 2 << 20
	chainConnWindow   = 16 << 20
)

// chain is the baseline of circuits: four QUIC endpoints in a row that copy
// streams, without cells, layers or windows of their own.
type chain struct {
	ends   []*quic.Transport
	conns  []*quic.Conn // conns[i] leads to ends[i+1]
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// newChain connects a client with hops forwarders. Close ends it.
func newChain(ctx context.Context, hops int) (*chain, error) {
	run, cancel := context.WithCancel(context.Background())
	c := &chain{cancel: cancel}
	server, err := chainTLS()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := c.connect(ctx, run, server, hops); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *chain) connect(ctx, run context.Context, server *tls.Config, hops int) error {
	listeners := make([]*quic.Listener, hops+1)
	for i := range listeners {
		pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback(i + 1)})
		if err != nil {
			return err
		}
		c.ends = append(c.ends, &quic.Transport{Conn: pc})
		if i == 0 {
			continue
		}
		if listeners[i], err = c.ends[i].Listen(server, chainConfig()); err != nil {
			return err
		}
	}
	client := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{chainProtocol},
		InsecureSkipVerify: true, // both ends are this process
	}
	for i := range hops {
		conn, err := c.ends[i].Dial(ctx, c.ends[i+1].Conn.LocalAddr(), client, chainConfig())
		if err != nil {
			return err
		}
		c.conns = append(c.conns, conn)
	}
	for i, l := range listeners[1:] {
		var next *quic.Conn
		if i+1 < hops {
			next = c.conns[i+1]
		}
		c.wg.Go(func() { c.serve(run, l, next) })
	}
	return nil
}

// Close ends the chain and waits for its goroutines.
func (c *chain) Close() error {
	c.cancel()
	for _, conn := range c.conns {
		_ = conn.CloseWithError(0, "")
	}
	var errs []error
	for _, t := range c.ends {
		errs = append(errs, t.Close(), t.Conn.Close())
	}
	c.wg.Wait()
	return errors.Join(errs...)
}

// serve forwards the streams of one connection to next, or ends them here.
func (c *chain) serve(ctx context.Context, l *quic.Listener, next *quic.Conn) {
	conn, err := l.Accept(ctx)
	if err != nil {
		return
	}
	for {
		s, err := conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		c.wg.Go(func() { forward(ctx, s, next) })
	}
}

// forward copies both directions of a stream until they end.
func forward(ctx context.Context, s *quic.Stream, next *quic.Conn) {
	var far stream = newFarEnd()
	if next != nil {
		opened, err := next.OpenStreamSync(ctx)
		if err != nil {
			s.CancelRead(0)
			s.CancelWrite(0)
			return
		}
		far = chainStream{opened}
	}
	near := chainStream{s}
	var wg sync.WaitGroup
	wg.Go(func() { copyStream(far, near) })
	wg.Go(func() { copyStream(near, far) })
	wg.Wait()
	_ = near.Close()
	_ = far.Close()
}

func copyStream(to, from stream) {
	// The embedding hides every method but Read and Write, so that a buffer of
	// a batch's size is used on both sides, as relays have.
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 32<<10))
	_ = to.CloseWrite()
}

// open opens a stream through the whole chain.
func (c *chain) open(ctx context.Context) (stream, error) {
	s, err := c.conns[0].OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return chainStream{s}, nil
}

type chainStream struct{ *quic.Stream }

func (s chainStream) CloseWrite() error { return s.Stream.Close() }

func (s chainStream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

func chainConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow: chainStreamWindow, MaxStreamReceiveWindow: chainStreamWindow,
		InitialConnectionReceiveWindow: chainConnWindow, MaxConnectionReceiveWindow: chainConnWindow,
	}
}

// chainTLS returns a configuration with a certificate that nobody checks.
func chainTLS() (*tls.Config, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{chainProtocol},
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
	}, nil
}
