package circuit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/simnet"
)

// The network of TestLossyLinks.
const (
	lossyNodes = 50
	lostOneIn  = 50 // packets: 2 %
	transfer   = 1 << 20
	// slower is how much longer a circuit may take than one of its links.
	slower = 3
)

// Over links of 40 ms that lose 2 % of their packets, a circuit carries 1 MB in
// either direction in at most three times what one such link needs for it:
// what is lost is sent again by the link that lost it, and no window of the
// circuit stands in the way.
func TestLossyLinks(t *testing.T) {
	var single, up, down []time.Duration
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			n := simnet.New(simnet.Config{Latency: linkDelay, Drop: lossy(seed, lostOneIn)})
			defer n.Close()
			x := &transfers{}
			defer x.wg.Wait()
			w := startNetworkOf(t, lossyNodes, 4433, n.PacketConn, nil, x)
			defer w.stop()
			c := w.newClient(nil)
			defer c.stop(t)
			c.until(t, "at the start", ready(circuit.DefaultIdle))
			for i := range 4 {
				single = append(single, w.overOneLink(t, 4*i, upload), w.overOneLink(t, 4*i+2, download))
			}
			for persona := range uint32(2) {
				iso := circuit.Isolation{Persona: persona}
				up = append(up, overCircuit(t, w, c, iso, upload))
				down = append(down, overCircuit(t, w, c, iso, download))
			}
		})
	}
	t.Logf("1 MB over one link: %v", single)
	t.Logf("up a circuit: %v", up)
	t.Logf("down a circuit: %v", down)
	one := median(single)
	t.Logf("medians: one link %v, up %v (%.2f times), down %v (%.2f times)", one,
		median(up), median(up).Seconds()/one.Seconds(), median(down), median(down).Seconds()/one.Seconds())
	for name, took := range map[string]time.Duration{"up": median(up), "down": median(down)} {
		if took > slower*one {
			t.Errorf("1 MB %s a circuit takes %v, %v over one link", name, took, one)
		}
	}
}

// transferring is upload or download.
type transferring func(s twoWay, size uint32, seed [32]byte) error

// overOneLink returns how long a transfer takes over a QUIC connection from
// node i to the next, which it makes first.
func (w *network) overOneLink(t *testing.T, i int, run transferring) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := w.ends[i+1].AcceptService(ctx)
		if err != nil {
			return
		}
		if s, err := conn.AcceptStream(ctx); err == nil {
			serveTransfer(s)
		}
		<-ctx.Done()
		_ = conn.Close()
	}()
	defer func() { cancel(); <-served }()
	conn, err := w.ends[i].DialService(ctx, w.node(i+1))
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.OpenStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := run(s, transfer, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// overCircuit returns how long a transfer takes over a circuit that stands.
func overCircuit(t *testing.T, w *network, c *client, iso circuit.Isolation, run transferring) time.Duration {
	t.Helper()
	s, err := c.OpenStream(t.Context(), iso, farFrom(t, w, c))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := time.Now()
	if err := run(s, transfer, [32]byte{2}); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}
