package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sotto/internal/circuit"
)

// What is measured by echoes.
const (
	echoBytes = 256 // a small request
	echoes    = 2000

	// Echoes beside a transfer alternate between circuits and the bare chain.
	besideRounds = 4
	pacedTime    = 2 * time.Second // of one round at loadRate
	fullTime     = 1200 * time.Millisecond

	loadRate  = 30e6 // bytes per second
	loadShare = 0.95 // of loadRate that must have been held
	loadTick  = 2 * time.Millisecond

	// pathTries is how many circuits are looked at for one whose relays are
	// those of another: through three relays there are six paths, of which
	// guards leave two or four.
	pathTries = 32
)

var errNoTwin = errors.New("bench: found no two circuits through the same relays")

// echoTimes measures round trips on a circuit that carries nothing else.
func (w *relays) echoTimes(ctx context.Context, r Run) error {
	r.Note("echoing %d bytes %d times", echoBytes, echoes)
	s, err := w.open(ctx, 0)
	if err != nil {
		return err
	}
	times, err := echo(ctx, s, func(i int) bool { return i < echoes })
	if err != nil {
		return err
	}
	return r.emit(
		Figure{Bench: "circuit", Name: "echo_p50", Value: milliseconds(percentile(times, 50)), Unit: "ms"},
		Figure{Bench: "circuit", Name: "echo_p99", Value: milliseconds(percentile(times, 99)), Unit: "ms"},
	)
}

// echo makes round trips over s, one after the other, while more says so, and
// closes s.
func echo(ctx context.Context, s stream, more func(i int) bool) ([]time.Duration, error) {
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

// pairOpener opens two streams that share all links.
type pairOpener func(context.Context) (one, other stream, err error)

// openPair opens streams over two circuits through the same relays.
func (w *relays) openPair(ctx context.Context) (one, other stream, err error) {
	if one, err = w.open(ctx, 0); err != nil {
		return nil, nil, err
	}
	for i := 1; i <= pathTries; i++ {
		if other, err = w.open(ctx, i); err != nil {
			return nil, nil, errors.Join(err, one.Close())
		}
		if w.sameRelays(one, other) {
			return one, other, nil
		}
		if err := other.Close(); err != nil {
			return nil, nil, errors.Join(err, one.Close())
		}
	}
	return nil, nil, errors.Join(errNoTwin, one.Close())
}

// sameRelays reports whether two streams' circuits pass the same relays in the
// same order.
func (w *relays) sameRelays(one, other stream) bool {
	relaysOf := func(s stream) [circuitHops]circuit.Hop {
		for _, p := range w.manager.Paths() {
			if c, ok := s.(*circuit.Stream); ok && p.ID == c.Path() {
				return [...]circuit.Hop{p.Guard, p.Middle, p.Exit}
			}
		}
		return [circuitHops]circuit.Hop{}
	}
	of := relaysOf(one)
	return of != [circuitHops]circuit.Hop{} && of == relaysOf(other)
}

// openPair opens two streams through the whole chain.
func (c *chain) openPair(ctx context.Context) (one, other stream, err error) {
	if one, err = c.open(ctx); err != nil {
		return nil, nil, err
	}
	if other, err = c.open(ctx); err != nil {
		return nil, nil, errors.Join(err, one.Close())
	}
	return one, other, nil
}

// besides is what echoes saw on one side beside transfers, a value for a round.
type besides struct {
	open  pairOpener
	p99s  []float64 // ms
	rates []float64 // bytes per second of the transfers
}

// echoBeside measures round trips on one circuit while another one through the
// same relays carries data, in turn with the same over the bare chain.
func echoBeside(ctx context.Context, r Run, w *relays, bare *chain) error {
	r.Note("echoing beside a transfer of %.0f MB/s, %d times %v, in turn with the bare chain", loadRate/1e6, besideRounds, pacedTime)
	ours, chains, err := alternate(ctx, w, bare, loadRate, pacedTime)
	if err != nil {
		return err
	}
	if rate := middle(ours.rates); rate < loadShare*loadRate {
		r.Note("no figure beside %.0f MB/s: this machine carried %.1f of it", loadRate/1e6, rate/1e6)
	} else {
		f := Figure{Bench: "circuit", Name: "echo_p99_under_30MBps", Value: middle(ours.p99s), Unit: "ms"}
		if middle(chains.rates) >= loadShare*loadRate {
			f = f.against("bare_chain", middle(chains.p99s))
		}
		if err := r.emit(f); err != nil {
			return err
		}
	}
	r.Note("echoing beside a transfer without limit, %d times %v, in turn with the bare chain", besideRounds, fullTime)
	if ours, chains, err = alternate(ctx, w, bare, 0, fullTime); err != nil {
		return err
	}
	return r.emit(
		Figure{Bench: "circuit", Name: "echo_p99_unlimited", Value: middle(ours.p99s), Unit: "ms"}.
			against("bare_chain", middle(chains.p99s)),
		Figure{Bench: "circuit", Name: "throughput_beside_echo", Value: middle(ours.rates), Unit: "bytes/s"}.
			against("bare_chain", middle(chains.rates)),
	)
}

func alternate(ctx context.Context, w *relays, bare *chain, rate float64, d time.Duration) (ours, chains *besides, err error) {
	ours, chains = &besides{open: w.openPair}, &besides{open: bare.openPair}
	for range besideRounds {
		for _, b := range []*besides{ours, chains} {
			if err := b.round(ctx, rate, d); err != nil {
				return nil, nil, err
			}
		}
	}
	return ours, chains, nil
}

// round is one transfer for d with echoes beside it.
func (b *besides) round(ctx context.Context, rate float64, d time.Duration) error {
	one, other, err := b.open(ctx)
	if err != nil {
		return err
	}
	var times []time.Duration
	var echoErr error
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		times, echoErr = echo(ctx, one, func(int) bool {
			select {
			case <-done:
				return false
			default:
				return true
			}
		})
	})
	carried, err := load(ctx, other, rate, d)
	close(done)
	wg.Wait()
	if err := errors.Join(err, echoErr); err != nil {
		return err
	}
	if len(times) == 0 {
		return fmt.Errorf("bench: no echo came back within %v", d)
	}
	b.p99s = append(b.p99s, milliseconds(percentile(times, 99)))
	b.rates = append(b.rates, carried)
	return nil
}

// load sends at rate bytes per second for d, or as fast as it goes if rate is
// 0, closes s, and returns the rate that it reached.
func load(ctx context.Context, s stream, rate float64, d time.Duration) (float64, error) {
	defer s.Close()
	if err := openMode(s, modeSink); err != nil {
		return 0, err
	}
	tick := time.NewTicker(loadTick)
	defer tick.Stop()
	buf := make([]byte, 256<<10)
	began := time.Now()
	sent := 0
	for time.Since(began) < d && ctx.Err() == nil {
		due := len(buf)
		if rate > 0 {
			<-tick.C
			due = min(int(rate*time.Since(began).Seconds())-sent, len(buf))
		}
		if _, err := s.Write(buf[:due]); err != nil {
			return 0, err
		}
		sent += due
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := drained(s, uint64(sent)); err != nil {
		return 0, err
	}
	return float64(sent) / time.Since(began).Seconds(), nil
}
