package circuit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/simnet"
)

// The network of TestDyingNodes.
const (
	churnNodes   = 50
	churnDeaths  = churnNodes / 5
	churnReturns = churnDeaths / 2 // of them come back
	churnFor     = 10 * time.Minute
	churnClients = 4
	// churnPersonas is how many of each client ask, on circuits of their own.
	churnPersonas = 2
	// churnEvery is the mean pause between two requests of a persona.
	churnEvery = 6 * time.Second
	// churnSize is what a request is answered by: some batches of cells.
	churnSize = 32 << 10
	// churnAttempt is how long one attempt may take, as internal/client has it.
	churnAttempt = 12 * time.Second
	// churnPatience is when a request counts as lost.
	churnPatience = time.Minute
)

// While 20 % of 50 nodes die at moments of their own, and half of these come
// back, over links that lose packets, every request that its client repeats on
// another circuit is answered, with the right bytes. Nothing is left at the end:
// the bubble fails if a goroutine is.
func TestDyingNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(simnet.Config{Latency: linkDelay, Drop: lossy(7, lostOneIn)})
		defer n.Close()
		x := &transfers{}
		defer x.wg.Wait()
		w := startNetworkOf(t, churnNodes, 4433, n.PacketConn, nil, x)
		defer w.stop()
		clients := make([]*client, churnClients)
		for i := range clients {
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 200, byte(i), 1}), 0)
			clients[i] = w.newClientAt(addr, nil)
			defer clients[i].stop(t)
		}
		ctx, cancel := context.WithTimeout(t.Context(), churnFor)
		defer cancel()
		var all sync.WaitGroup
		defer all.Wait()
		all.Go(func() { w.churn(ctx, n, clients) })
		records := make([]requests, churnClients*churnPersonas)
		for i := range records {
			all.Go(func() { records[i].make(ctx, t, w, clients[i%churnClients], uint32(i/churnClients)) })
		}
		all.Wait()
		report(t, records)
	})
}

// churn kills nodes from random moments on and brings some of them back later,
// until ctx is done.
func (w *network) churn(ctx context.Context, n *simnet.Net, clients []*client) {
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	deaths := make([]time.Duration, churnDeaths)
	for i := range deaths {
		deaths[i] = time.Duration(r.Int64N(int64(churnFor * 9 / 10)))
	}
	slices.Sort(deaths)
	var returns sync.WaitGroup
	defer returns.Wait()
	dead := make(map[int]bool)
	for i, at := range deaths {
		if !pause(ctx, time.Until(start.Add(at))) {
			return
		}
		node, ok := w.victim(ctx, r, clients, dead)
		if !ok {
			return
		}
		dead[node] = true
		host := w.node(node).Addr.Addr()
		n.SetDown(host, true) // first, so that nobody hears of it
		w.stops[node]()
		if i%(churnDeaths/churnReturns) != 0 {
			continue
		}
		after := time.Duration(r.Int64N(int64(churnFor / 10)))
		returns.Go(func() {
			if pause(ctx, after) {
				n.SetDown(host, false)
				if err := w.startNode(node); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
}

// pause waits, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// victim returns a node that has not died yet: one of a path over which somebody
// waits for an answer, as soon as there is one, but not after ctx.
func (w *network) victim(ctx context.Context, r *rand.Rand, clients []*client, dead map[int]bool) (node int, ok bool) {
	for {
		var busy []int
		for _, c := range clients {
			for _, p := range c.Paths() {
				i := w.index([]circuit.Hop{p.Guard, p.Middle, p.Exit}[r.IntN(3)].ID)
				if p.Streams > 0 && !dead[i] {
					busy = append(busy, i)
				}
			}
		}
		if len(busy) > 0 {
			return busy[r.IntN(len(busy))], true
		}
		if !pause(ctx, linkDelay) {
			return 0, false
		}
	}
}

// requests is what became of one persona's.
type requests struct {
	answered, attempts, deaths int
	worst                      time.Duration
	err                        error // of one that was lost
}

// make asks until ctx is done; a request that has begun is ended.
func (q *requests) make(ctx context.Context, t *testing.T, w *network, c *client, persona uint32) {
	r := rand.New(rand.NewPCG(uint64(persona), 3))
	iso := circuit.Isolation{Persona: persona}
	for q.err == nil {
		if !pause(ctx, time.Duration(r.ExpFloat64()*float64(churnEvery))) {
			return
		}
		start := time.Now()
		q.err = q.one(t.Context(), c, iso, w, r)
		q.worst = max(q.worst, time.Since(start))
		q.answered++
	}
}

// one repeats a request until it is answered.
func (q *requests) one(ctx context.Context, c *client, iso circuit.Isolation, w *network, r *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, churnPatience)
	defer cancel()
	var seed [32]byte
	seed[0] = byte(r.Uint32())
	for {
		q.attempts++
		err := attempt(ctx, c, iso, w, r.IntN(churnNodes), seed)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("not answered within %v: %w", churnPatience, err)
		case errors.Is(err, circuit.ErrDead):
			q.deaths++
		case errors.Is(err, circuit.ErrNoCircuit):
		default:
			return err
		}
	}
}

// attempt asks once.
func attempt(ctx context.Context, c *client, iso circuit.Isolation, w *network, target int, seed [32]byte) error {
	s, err := c.OpenStream(ctx, iso, w.node(target).ID)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(churnAttempt)); err != nil {
		return err
	}
	return download(s, churnSize, seed)
}

func report(t *testing.T, records []requests) {
	t.Helper()
	var sum requests
	for i, q := range records {
		if q.err != nil {
			t.Errorf("persona %d lost a request: %v", i, q.err)
		}
		sum.answered += q.answered
		sum.attempts += q.attempts
		sum.deaths += q.deaths
		sum.worst = max(sum.worst, q.worst)
	}
	t.Logf("%d requests took %d attempts, %d of which died with their circuit; the worst was answered after %v",
		sum.answered, sum.attempts, sum.deaths, sum.worst)
	if sum.deaths == 0 {
		t.Error("no circuit died under a request: the test proves nothing")
	}
}
