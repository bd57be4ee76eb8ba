package circuit_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/relay"
	"sotto/internal/simnet"
)

// serviceExit reaches the node behind the exit over a link of the exit's own.
type serviceExit struct {
	endpoint *link.Endpoint
	source   directory.Source
}

func (e serviceExit) OpenStream(ctx context.Context, id identity.NodeID) (io.ReadWriteCloser, error) {
	node, _ := e.source.Current().Node(id)
	conn, err := e.endpoint.DialService(ctx, node)
	if err != nil {
		return nil, err
	}
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// serveEchoes restarts all nodes with exits that reach an echo at the node
// itself, as they reach its swarm. It returns when the echoes have ended, which
// is with their endpoints.
func (w *network) serveEchoes() (wait func()) {
	w.change = func(cfg *relay.Config) { cfg.Exit = serviceExit{cfg.Endpoint, w.source} }
	var all sync.WaitGroup
	for i := range w.local {
		w.stops[i]()
		if err := w.startNode(i); err != nil {
			w.t.Fatal(err)
		}
		e := w.ends[i]
		all.Go(func() {
			for {
				conn, err := e.AcceptService(context.Background())
				if err != nil {
					return
				}
				all.Go(func() { echoService(conn, &all) })
			}
		})
	}
	return all.Wait
}

func echoService(conn *link.ServiceConn, all *sync.WaitGroup) {
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		all.Go(func() {
			_, _ = io.Copy(s, s)
			_ = s.Close()
		})
	}
}

// Whatever node of a path dies, the client that waits knows within 3 s and a way
// back (2 s of silence on the link beside it, counted from the keep-alive that
// leaves within a second), and is answered on another path at once, or after the
// hedge if what is being built meets the dead node.
func TestDeathIsQuickAndVisible(t *testing.T) {
	const noticed, again = 3200 * time.Millisecond, 2 * time.Second
	for name, of := range map[string]func(circuit.PathInfo) identity.NodeID{
		"guard":  func(p circuit.PathInfo) identity.NodeID { return p.Guard.ID },
		"middle": func(p circuit.PathInfo) identity.NodeID { return p.Middle.ID },
		"exit":   func(p circuit.PathInfo) identity.NodeID { return p.Exit.ID },
		"member": nil,
	} {
		for _, iso := range []circuit.Isolation{sending, {Purpose: circuit.Receive}} {
			t.Run(name+" while "+iso.Purpose.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					simulated(t, 20, nil, func(w *network, n *simnet.Net) {
						wait := w.serveEchoes()
						defer wait()
						defer w.stop()
						c := w.newClient(nil)
						defer c.stop(t)
						c.until(t, "at the start", ready(circuit.DefaultIdle))
						target := farFrom(t, w, c)
						s, err := c.OpenStream(t.Context(), iso, target)
						if err != nil {
							t.Fatal(err)
						}
						if err := echo(s, []byte("hello")); err != nil {
							t.Fatal(err)
						}
						victim, other := target, target
						if of != nil {
							victim = of(pathOf(t, c, s))
						} else {
							other = farFromBut(t, w, c, target)
						}
						n.SetDown(w.node(w.index(victim)).Addr.Addr(), true)
						start := time.Now()
						_, err = s.Read(make([]byte, 1))
						var ended *circuit.StreamError
						if of != nil && !errors.Is(err, circuit.ErrDead) || of == nil && !errors.As(err, &ended) {
							t.Fatalf("got %v", err)
						}
						took := time.Since(start)
						retried := time.Now()
						tries := sendUntil(t, c, iso, other)
						t.Logf("noticed after %v (%v), answered %v later over %d circuits", took, err, time.Since(retried), tries)
						if took > noticed {
							t.Errorf("noticed after %v", took)
						}
						if d := time.Since(retried); d > again {
							t.Errorf("answered on another path only %v later", d)
						}
					})
				})
			})
		}
	}
}

// farFromBut is farFrom without one node.
func farFromBut(t *testing.T, w *network, c *client, not identity.NodeID) identity.NodeID {
	t.Helper()
	on := map[identity.NodeID]bool{not: true}
	for _, p := range c.Paths() {
		on[p.Guard.ID], on[p.Middle.ID], on[p.Exit.ID] = true, true, true
	}
	for i := range w.local {
		if id := w.node(i).ID; !on[id] {
			return id
		}
	}
	t.Fatal("every node is on a path")
	return identity.NodeID{}
}
