package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// What is measured on circuits.
const (
	circuitHops   = 3
	circuitRelays = 8 // a choice of paths, and all fit on one machine
	manyStreams   = 10

	warmBytes  = 16 << 20
	roundTime  = 700 * time.Millisecond
	poolRounds = 7

	echoBytes = 256 // a small request
	echoes    = 2000

	loadRate  = 30e6 // bytes per second
	loadShare = 0.95 // of loadRate that must have been held
	loadTime  = 8 * time.Second
	loadTick  = 2 * time.Millisecond

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
	for _, step := range []func(context.Context, Run) error{
		func(ctx context.Context, r Run) error { return throughputs(ctx, r, w, bare) },
		w.echoTimes,
		w.echoUnderLoad,
		w.buildRate,
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

// echoTimes measures round trips on a circuit that carries nothing else.
func (w *relays) echoTimes(ctx context.Context, r Run) error {
	r.Note("echoing %d bytes %d times", echoBytes, echoes)
	times, err := w.echo(ctx, func(i int) bool { return i < echoes })
	if err != nil {
		return err
	}
	return r.emit(
		Figure{Bench: "circuit", Name: "echo_p50", Value: milliseconds(percentile(times, 50)), Unit: "ms"},
		Figure{Bench: "circuit", Name: "echo_p99", Value: milliseconds(percentile(times, 99)), Unit: "ms"},
	)
}

// echo makes round trips over one stream, one after the other, while more says so.
func (w *relays) echo(ctx context.Context, more func(i int) bool) ([]time.Duration, error) {
	s, err := w.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := openMode(s, modeEcho); err != nil {
		return nil, err
	}
	out, in := make([]byte, echoBytes), make([]byte, echoBytes)
	var times []time.Duration
	for i := 0; more(i) && ctx.Err() == nil; i++ {
		began := time.Now()
		if _, err := s.Write(out); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(s, in); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, ctx.Err()
}

// echoUnderLoad measures round trips while another circuit of the same guards
// carries loadRate. Where the machine cannot carry it, there is no such figure.
func (w *relays) echoUnderLoad(ctx context.Context, r Run) error {
	r.Note("echoing while another circuit carries %.0f MB/s for %v", loadRate/1e6, loadTime)
	var times []time.Duration
	var echoErr error
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		times, echoErr = w.echo(ctx, func(int) bool {
			select {
			case <-done:
				return false
			default:
				return true
			}
		})
	})
	rate, err := w.load(ctx)
	close(done)
	wg.Wait()
	if err := errors.Join(err, echoErr); err != nil {
		return err
	}
	if rate < loadShare*loadRate {
		r.Note("no figure under load: this machine carried %.1f MB/s of it", rate/1e6)
		return nil
	}
	return r.emit(Figure{Bench: "circuit", Name: "echo_p99_under_30MBps", Value: milliseconds(percentile(times, 99)), Unit: "ms"})
}

// load sends at loadRate for loadTime, and returns the rate that it reached.
func (w *relays) load(ctx context.Context) (float64, error) {
	s, err := w.open(ctx, 1)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := openMode(s, modeSink); err != nil {
		return 0, err
	}
	tick := time.NewTicker(loadTick)
	defer tick.Stop()
	buf := make([]byte, 256<<10)
	began := time.Now()
	sent := 0
	for time.Since(began) < loadTime {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		due := min(int(loadRate*time.Since(began).Seconds())-sent, len(buf))
		if _, err := s.Write(buf[:due]); err != nil {
			return 0, err
		}
		sent += due
	}
	if err := drained(s, uint64(sent)); err != nil {
		return 0, err
	}
	return float64(sent) / time.Since(began).Seconds(), nil
}

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
