package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sotto/internal/identity"
)

// quorumPuts is how many puts a percentile is taken of.
const quorumPuts = 200

// Quorum is how long puts take until a majority signed for them, in
// milliseconds, one after the other, given to members that stay.
type Quorum struct {
	Healthy      float64 `json:"healthy_p95_ms"`
	Killed       float64 `json:"killed_p95_ms"`  // as many members killed as the swarm bears
	Stopped      float64 `json:"stopped_p95_ms"` // as many stopped
	KilledRatio  float64 `json:"killed_ratio"`
	StoppedRatio float64 `json:"stopped_ratio"`
	Away         int     `json:"away"`
	Members      int     `json:"members"`
}

// quorum measures puts in a swarm that lacks as many members as it bears. It
// asserts nothing of time: a put that is refused is an error.
func (w *world) quorum(ctx context.Context) (q Quorum, err error) {
	members := w.swarms[0]
	q.Members, q.Away = len(members), (len(members)-1)/2
	gone, stay := members[:q.Away], members[q.Away:]
	var box *box
	if box, err = w.exits.newBox(w.exits.swarm(0)); err != nil {
		return q, err
	}
	var conns []*member
	for _, n := range stay {
		m := &member{x: w.exits, id: w.id(n)}
		defer m.close()
		conns = append(conns, m)
	}
	if err = conns[0].open(ctx, box); err != nil {
		return q, err
	}
	if _, err = putLatency(ctx, conns, box); err != nil { // members and machine warm up
		return q, fmt.Errorf("chaos: first puts: %w", err)
	}
	if q.Healthy, err = putLatency(ctx, conns, box); err != nil {
		return q, fmt.Errorf("chaos: puts in a healthy swarm: %w", err)
	}
	if err = each(gone, w.machines.kill); err != nil {
		return q, err
	}
	if q.Killed, err = putLatency(ctx, conns, box); err != nil {
		return q, fmt.Errorf("chaos: puts with %d of %d members killed: %w", q.Away, q.Members, err)
	}
	if err = each(gone, func(n int) error { return w.machines.restart(ctx, n) }); err != nil {
		return q, err
	}
	if err = each(gone, w.machines.stop); err != nil {
		return q, err
	}
	if q.Stopped, err = putLatency(ctx, conns, box); err != nil {
		return q, fmt.Errorf("chaos: puts with %d of %d members stopped: %w", q.Away, q.Members, err)
	}
	q.KilledRatio, q.StoppedRatio = q.Killed/q.Healthy, q.Stopped/q.Healthy
	return q, each(gone, w.machines.resume)
}

func each(nodes []int, f func(int) error) error {
	for _, n := range nodes {
		if err := f(n); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) id(n int) identity.NodeID { return w.layout.Nodes[n-1].Node.ID }

// putLatency returns the 95th percentile of puts given to members in turn.
func putLatency(ctx context.Context, conns []*member, b *box) (float64, error) {
	var took []time.Duration
	for i := range quorumPuts {
		e := &envelope{expiry: uint64(time.Now().Add(envelopeLife).Unix())}
		fillRandom(e.seed[:])
		bytes := e.bytes()
		began := time.Now()
		if err := conns[i%len(conns)].put(ctx, b, bytes, e.expiry); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	return p95(took), nil
}

// p95 is the 95th percentile in milliseconds.
func p95(took []time.Duration) float64 {
	slices.Sort(took)
	return float64(took[len(took)*95/100].Microseconds()) / 1000
}
