// Package node is one Sotto node: a relay and a member of a swarm on one
// socket, with its folder, its metrics and its clean stop (docs/operating.md).
//
// It only puts relay, swarm and link together. It can read no message: nothing
// that could is among its imports, and internal/archtest keeps it so.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/relay"
	"sotto/internal/swarm"
	"sotto/internal/swarm/store"
)

// Config says where a node's folder is and replaces parts of the system for
// tests. Only Dir is needed.
type Config struct {
	Dir string
	// Metrics is where /metrics and /healthz listen, on loopback; empty is nowhere.
	Metrics string
	// PacketConn is the node's socket; nil is what Listen opens.
	PacketConn net.PacketConn
	// Listen opens the node's only socket at the directory's address; nil is UDP,
	// with further sockets when the machine has several networks.
	Listen func(netip.AddrPort) (net.PacketConn, error)
	// FS is the disk below the store; nil is the system's.
	FS vfs.FS
	// Limits of the relay; zero fields are the defaults of spec/circuit.md §2.
	Limits relay.Limits
	// MaxStore is how many bytes of envelopes the store keeps; 0 is its default.
	MaxStore uint64
	Now      func() time.Time
	Rand     io.Reader
	Logger   *slog.Logger // names no client, address of one, or mailbox; nil is silence
}

// Node is a running node.
type Node struct {
	cfg      Config
	id       identity.NodeID
	endpoint *link.Endpoint
	relay    *relay.Relay
	swarm    *swarm.Swarm
	store    *store.Store
	follower *follower
	metrics  *metricsServer // nil without

	failed chan error // takes the first failure
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start opens the folder and serves until Close. When it returns without an
// error the node answers.
func Start(cfg Config) (*Node, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg, failed: make(chan error, 1)}
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start() error {
	keys, err := ReadKeys(n.cfg.Dir)
	if err != nil {
		return err
	}
	n.id = keys.ID()
	folder := &folder{dir: n.cfg.Dir}
	source, err := folder.open(n.cfg.Now)
	if err != nil {
		return err
	}
	for _, err := range folder.aside {
		n.cfg.Logger.Error("a file of the folder is no directory and was set aside", "suffix", suffixRefused, "error", err)
	}
	self, ok := directory.Listed(source, n.id)
	if !ok {
		return fmt.Errorf("node: %s does not list this node's identity, nor does a past directory that still matters", networkFile)
	}
	var sockets func(netip.Addr) (net.PacketConn, error)
	if n.cfg.PacketConn == nil {
		listen := n.cfg.Listen
		if listen == nil {
			listen, sockets = listenUDP, link.OpenSocket
		}
		if n.cfg.PacketConn, err = listen(self.Addr); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	n.endpoint, err = link.NewEndpoint(n.cfg.PacketConn, link.Config{
		Identity: keys.Identity, Directory: source, Logger: n.cfg.Logger, Now: n.cfg.Now, Sockets: sockets,
	})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return n.assemble(keys, source, folder)
}

func listenUDP(addr netip.AddrPort) (net.PacketConn, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err // no nil socket in an interface
	}
	return conn, nil
}

// assemble builds the rooms on the endpoint and starts them.
func (n *Node) assemble(keys Keys, source *directory.Live, folder *folder) error {
	registry := prometheus.NewRegistry()
	dialer := serviceDialer{endpoint: n.endpoint, directory: source}
	var err error
	if n.store, err = store.Open(filepath.Join(n.cfg.Dir, storeDir), store.Options{FS: n.cfg.FS, Rand: n.cfg.Rand, Logger: n.cfg.Logger, MaxBytes: n.cfg.MaxStore, Now: n.cfg.Now}); err != nil {
		if errors.Is(err, store.ErrDamaged) {
			err = fmt.Errorf("%w (sotto node check --repair keeps what is whole, the other members bring back the rest)", err)
		}
		return fmt.Errorf("node: %w", err)
	}
	if n.follower, err = newFollower(source, folder, n.id, dialer, n.cfg.Logger, registry); err != nil {
		return err
	}
	n.swarm, err = swarm.New(swarm.Config{
		Identity: keys.Identity, Directory: source, Store: n.store, Peers: dialer, ServeDirectory: n.follower.serve,
		Now: n.cfg.Now, Rand: n.cfg.Rand, Logger: n.cfg.Logger, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	n.relay = relay.New(relay.Config{
		Identity: n.id, OnionSecret: keys.Onion, Directory: source, Endpoint: n.endpoint,
		Exit: exitDialer{dialer}, Metrics: relay.NewMetrics(registry), Logger: n.cfg.Logger, Rand: n.cfg.Rand, Now: n.cfg.Now,
		Limits: n.cfg.Limits,
	})
	if n.cfg.Metrics != "" {
		if n.metrics, err = serveMetrics(n.cfg.Metrics, registry); err != nil {
			return err
		}
	}
	n.follower.sayListed()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.wg.Go(func() { n.ended("relay", n.relay.Serve(ctx)) })
	n.wg.Go(func() { n.ended("swarm", n.swarm.Run(ctx)) })
	n.wg.Go(func() { n.serveServices(ctx) })
	n.wg.Go(func() { n.follower.watch(ctx) })
	n.wg.Go(func() { n.follower.gossip(ctx) })
	info := RunInfo{PID: os.Getpid(), Metrics: n.MetricsAddr()}
	if n.metrics != nil {
		info.Run = n.metrics.run
	}
	err = writeRunInfo(n.cfg.Dir, info)
	if errors.Is(err, syscall.ENOSPC) { // what can be read is served meanwhile
		n.cfg.Logger.Error("the disk is full: until the node is started again, its status cannot be asked", "error", err)
		return nil
	}
	return err
}

// ended takes the end of a room, which without Close is a failure: its disk
// refused a write, say.
func (n *Node) ended(room string, err error) {
	if err == nil {
		return
	}
	n.cfg.Logger.Error("stopped serving", "room", room, "error", err)
	if n.metrics != nil {
		n.metrics.failed.Store(true)
	}
	select {
	case n.failed <- fmt.Errorf("node: %s: %w", room, err):
	default: // another room failed before, and one failure is enough
	}
}

// Failed tells when the node cannot go on; it is then to be closed, and may be
// started again.
func (n *Node) Failed() <-chan error { return n.failed }

// serveServices hands the streams of other nodes to the swarm.
func (n *Node) serveServices(ctx context.Context) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := n.endpoint.AcceptService(ctx)
		if err != nil {
			return // the context ended, or the endpoint closed
		}
		conns.Go(func() { n.serveService(ctx, conn) })
	}
}

func (n *Node) serveService(ctx context.Context, conn *link.ServiceConn) {
	var streams sync.WaitGroup
	defer streams.Wait()
	defer conn.Close()
	for {
		s, err := conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		streams.Go(func() { n.swarm.ServeStream(ctx, conn.Peer(), swarmStream{s}) })
	}
}

// swarmStream is a link's stream as package swarm names it.
type swarmStream struct{ *link.ServiceStream }

// Continue implements swarm.Stream.
func (s swarmStream) Continue() (swarm.Tail, error) { return s.ServiceStream.Continue() }

// Drain makes the node leave in good order before Close (spec/circuit.md §4.9):
// it takes no new circuits, tells the clients of open ones, and returns how many
// are left when none is or when ctx is done.
func (n *Node) Drain(ctx context.Context) (left int) { return n.relay.Drain(ctx) }

// Reload makes the node look at once whether its folder holds a newer directory,
// as it does at intervals.
func (n *Node) Reload() {
	select {
	case n.follower.reload <- struct{}{}:
	default: // it is about to look
	}
}

// Directory returns the source of the node's directories.
func (n *Node) Directory() directory.Source { return n.follower.live }

// Circuits returns how many circuits lead through the node.
func (n *Node) Circuits() int { return n.relay.Circuits() }

// ID returns the node's ID.
func (n *Node) ID() identity.NodeID { return n.id }

// MetricsAddr returns host and port of /metrics, or "" without.
func (n *Node) MetricsAddr() string {
	if n.metrics == nil {
		return ""
	}
	return n.metrics.addr()
}

// Close stops serving and returns when every goroutine of the node has ended.
func (n *Node) Close() error {
	var errs []error
	if n.metrics != nil {
		errs = append(errs, n.metrics.close())
	}
	if n.cancel != nil {
		n.cancel()
	}
	if n.endpoint != nil {
		errs = append(errs, n.endpoint.Close())
	} else if n.cfg.PacketConn != nil {
		errs = append(errs, n.cfg.PacketConn.Close())
	}
	n.wg.Wait()
	if n.swarm != nil {
		errs = append(errs, n.swarm.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// exitDialer opens streams for circuits that end here, marked as a client's.
type exitDialer struct{ serviceDialer }

// OpenStream implements relay.ExitDialer.
func (d exitDialer) OpenStream(ctx context.Context, id identity.NodeID) (io.ReadWriteCloser, error) {
	return swarm.OpenClientStream(ctx, d.serviceDialer, id)
}

// serviceDialer opens streams to other nodes' swarms. Connections are shared among all,
// so that a swarm node cannot tell clients apart by them.
type serviceDialer struct {
	endpoint  *link.Endpoint
	directory directory.Source
}

// OpenStream implements swarm.PeerDialer.
func (d serviceDialer) OpenStream(ctx context.Context, id identity.NodeID) (io.ReadWriteCloser, error) {
	node, ok := directory.Listed(d.directory, id)
	if !ok {
		return nil, fmt.Errorf("node: not in the directory")
	}
	conn, err := d.endpoint.DialService(ctx, node)
	if err != nil {
		return nil, err
	}
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}
