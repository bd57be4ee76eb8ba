package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/relay"
)

// loopback returns node i's address (from 1).
func loopback(i int) net.IP { return net.IPv4(127, byte(i), 0, 1) }

// portTries bounds the search for a port that is free on every address.
const portTries = 20

// listenLoopback opens a socket on one port of each of n nodes' addresses.
func listenLoopback(n int) (conns []net.PacketConn, port int, err error) {
	for range portTries {
		if conns, port, err = tryListen(n); err == nil {
			return conns, port, nil
		}
	}
	return nil, 0, err
}

func tryListen(n int) ([]net.PacketConn, int, error) {
	var conns []net.PacketConn
	port := 0
	for i := 1; i <= n; i++ {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback(i), Port: port})
		if err != nil {
			for _, c := range conns {
				_ = c.Close()
			}
			return nil, 0, err
		}
		conns = append(conns, c)
		port = c.LocalAddr().(*net.UDPAddr).Port
	}
	return conns, port, nil
}

// unhurried lifts the limit of what one link may ask for: a benchmark asks for
// more than a client does.
var unhurried = relay.Limits{ClientRate: 1 << 20, ClientBurst: 1 << 20, NodeRate: 1 << 20, NodeBurst: 1 << 20}

// relays is a network of relays on loopback, whose circuits all end at farEnds,
// and one client.
type relays struct {
	target  identity.NodeID // listed, so that streams can name it; does not run
	first   identity.NodeID // of the relays
	ends    []*link.Endpoint
	client  *link.Endpoint // one of ends
	manager *circuit.Manager
	built   atomic.Int64 // circuits so far
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	directory directory.Source
}

// startRelays starts n relays and waits until the client has a circuit.
func startRelays(ctx context.Context, n int) (*relays, error) {
	run, cancel := context.WithCancel(context.Background())
	w := &relays{cancel: cancel}
	err := w.start(run, n)
	if err == nil {
		err = w.manager.WaitReady(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *relays) start(run context.Context, n int) error {
	conns, port, err := listenLoopback(n + 1)
	if err != nil {
		return err
	}
	network, local, err := directory.Local(directory.LocalConfig{
		Nodes: n + 1, Port: uint16(port), Created: time.Now().Add(-time.Hour), Rand: rand.Reader,
	})
	if err != nil {
		return err
	}
	dir, err := network.Directory()
	if err != nil {
		return err
	}
	source := directory.Fixed(dir)
	w.directory, w.first = source, local[0].Node.ID
	for i, pc := range conns[:n] {
		e, err := link.NewEndpoint(pc, link.Config{Identity: local[i].Identity, Directory: source})
		if err != nil {
			return err
		}
		w.ends = append(w.ends, e)
		r := relay.New(relay.Config{
			Identity: local[i].Node.ID, OnionSecret: local[i].Onion, Directory: source,
			Endpoint: e, Exit: farEnds{}, Limits: unhurried,
		})
		w.wg.Go(func() { _ = r.Serve(run) })
	}
	w.target = local[n].Node.ID
	return w.connect(conns[n], source)
}

// connect makes the client, on the socket of the node that does not run.
func (w *relays) connect(pc net.PacketConn, source directory.Source) error {
	e, err := link.NewEndpoint(pc, link.Config{Directory: source})
	if err != nil {
		return err
	}
	w.ends, w.client = append(w.ends, e), e
	w.manager, err = circuit.NewManager(circuit.Config{
		Directory: source, Endpoint: e,
		OnEvent: func(e circuit.Event) {
			if e.Kind == circuit.EventBuilt {
				w.built.Add(1)
			}
		},
	})
	return err
}

// Close stops client and relays and waits for them.
func (w *relays) Close() error {
	var errs []error
	if w.manager != nil {
		errs = append(errs, w.manager.Close())
	}
	w.cancel()
	for _, e := range w.ends {
		errs = append(errs, e.Close())
	}
	w.wg.Wait()
	return errors.Join(errs...)
}

// open opens a stream over the circuit of number i.
func (w *relays) open(ctx context.Context, i int) (stream, error) {
	return w.manager.OpenStream(ctx, circuit.Isolation{Persona: uint32(i)}, w.target)
}
