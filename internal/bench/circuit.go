package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What is measured on circuits.
const (
	circuitHops   = 3
	circuitRelays = 8 // a choice of paths, and all fit on one machine
	echoRelays    = 3 // so few that circuits through the same ones are found
	manyStreams   = 10

	warmBytes  = 16 << 20
	roundTime  = 700 * time.Millisecond
	poolRounds = 6

	buildRounds  = 8
	buildsAtOnce = 24
)

func circuits(ctx context.Context, r Run) (err error) {
	bare, err := newChain(ctx, circuitHops)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Close()) }()
	w, err := startRelays(ctx, circuitRelays)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	few, err := startRelays(ctx, echoRelays)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, few.Close()) }()
	for _, step := range []func(context.Context, Run) error{
		func(ctx context.Context, r Run) error { return throughputs(ctx, r, w, bare) },
		w.echoTimes,
		func(ctx context.Context, r Run) error { return echoBeside(ctx, r, few, bare) },
		w.buildRate,
		func(ctx context.Context, r Run) error { return answers(ctx, r, answerRounds, answersPerRound) },
		w.handshakeRate,
	} {
		if err := step(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// opener opens the stream of number i.
type opener func(ctx context.Context, i int) (stream, error)

// flow is what went over an opener's streams.
type flow struct {
	open  opener
	size  int // bytes of a round
	rates []float64
	bytes int
	cpu   time.Duration
}

func throughputs(ctx context.Context, r Run, w *relays, bare *chain) error {
	chained := func(ctx context.Context, _ int) (stream, error) { return bare.open(ctx) }
	for _, n := range []int{1, manyStreams} {
		r.Note("sending over %d circuits, and over %d streams of the bare chain, in turn", n, n)
		flows := []*flow{{open: w.open}, {open: chained}}
		for range poolRounds {
			for _, f := range flows {
				if err := f.round(ctx, n); err != nil {
					return err
				}
			}
		}
		figures := []Figure{
			Figure{Bench: "circuit", Name: fmt.Sprintf("throughput_%d", n), Value: middle(flows[0].rates), Unit: "bytes/s"}.
				against("bare_chain", middle(flows[1].rates)),
		}
		if n == 1 && flows[0].cpu > 0 {
			figures = append(figures, Figure{Bench: "circuit", Name: "circuit_cpu_s_per_GB", Value: flows[0].cpuPerGB(), Unit: "s/GB"}.
				against("bare_chain", flows[1].cpuPerGB()))
		}
		if err := r.emit(figures...); err != nil {
			return err
		}
	}
	return nil
}

// round sends for about roundTime over n streams at once; the first round finds
// out how much that is.
func (f *flow) round(ctx context.Context, n int) error {
	warm := f.size == 0
	if warm {
		f.size = warmBytes
	}
	streams := make([]stream, n)
	for i := range streams {
		var err error
		if streams[i], err = f.open(ctx, i); err != nil {
			return err
		}
	}
	cpu, _ := cpuTime()
	began := time.Now()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, s := range streams {
		wg.Go(func() { errs[i] = pour(s, f.size/n) })
	}
	wg.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	rate := float64(f.size) / took.Seconds()
	if warm {
		f.size = int(rate*roundTime.Seconds()) + n
		return nil
	}
	after, _ := cpuTime()
	f.rates = append(f.rates, rate)
	f.bytes += f.size
	f.cpu += after - cpu
	return nil
}

func (f *flow) cpuPerGB() float64 { return f.cpu.Seconds() / (float64(f.bytes) / 1e9) }

// buildRate counts circuits while many streams that may not share one are opened,
// and all circuits are dropped again and again.
func (w *relays) buildRate(ctx context.Context, r Run) error {
	r.Note("building %d times %d circuits and more", buildRounds, buildsAtOnce)
	began, before := time.Now(), w.built.Load()
	for round := range buildRounds {
		w.manager.NewPath()
		errs := make([]error, buildsAtOnce)
		var wg sync.WaitGroup
		for i := range buildsAtOnce {
			wg.Go(func() {
				s, err := w.open(ctx, (round+1)*1000+i)
				if err == nil {
					err = s.Close()
				}
				errs[i] = err
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	built := int(w.built.Load() - before)
	return r.emit(Figure{Bench: "circuit", Name: "build_rate", Value: perSecond(built, time.Since(began)), Unit: "1/s"})
}
