package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/link"
	"sotto/internal/onion"
)

const (
	// memoryLimit is what the nodes of these tests may hold, in MiB: a quarter
	// of what a thousand circuits ask them to hold.
	memoryLimit = 32
	// memoryCircuits is how many circuits nobody reads from.
	memoryCircuits = 1000
	// memoryPerLink is how many circuits a client may build at once.
	memoryPerLink = 60
	// memoryClients build at a time: more than cores, fewer than make a relay
	// call for work.
	memoryClients = 4
	// giftSize is what an honest reader takes from the same target: less than
	// makes it the heaviest.
	giftSize = 64 << 10
	// queuedSlack is what may wait beyond the limit for the moment in which the
	// heaviest circuit is being ended: a batch for each of the circuits that
	// several cores serve.
	queuedSlack = 4 << 20
	// memorySlack is what a node under its limit may use beyond what it used
	// idle and twice the limit, which is how far the heap grows between two
	// collections: the circuits themselves, and what QUIC holds
	// (docs/operating.md, Limits).
	memorySlack = 128 << 20
)

// attack is 1,000 circuits of two hops to an impostor's node behind the exit.
type attack struct {
	*stage
	target *impostor
	gives  atomic.Bool     // the target sends without end; else it reads nothing
	ctx    context.Context // of the target
	wg     sync.WaitGroup
}

func newAttack(t *testing.T, limit int) *attack {
	a := &attack{stage: newStage(t, 1, 5, fmt.Sprintf("--max-memory=%d", limit))}
	a.target = &a.absent[0]
	l := a.listen(a.target, narrowWindow)
	var stop context.CancelFunc
	a.ctx, stop = context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		a.wg.Wait()
	})
	a.wg.Go(func() {
		for {
			conn, err := l.Accept(a.ctx)
			if err != nil {
				return
			}
			a.wg.Go(func() { a.serve(conn) })
		}
	})
	return a
}

// serve takes the streams of an exit and reads none of them.
func (a *attack) serve(conn *quic.Conn) {
	defer conn.CloseWithError(0, "") // which ends the writers
	for {
		s, err := conn.AcceptStream(a.ctx)
		if err != nil {
			return
		}
		if !a.gives.Load() {
			continue
		}
		a.wg.Go(func() {
			piece := make([]byte, 16<<10)
			for {
				if _, err := s.Write(piece); err != nil {
					return
				}
			}
		})
	}
}

// run makes the circuits, each with use, and waits until no more than left of
// them stand. It returns the most that either of their nodes held and used.
func (a *attack) run(t *testing.T, circuits, left int, use func(*rawStream) error) (queued, rss uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testWait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.build(ctx, circuits, use) }()
	tick := time.NewTicker(filePoll)
	defer tick.Stop()
	for built := false; ; {
		queued = max(queued, a.queued(t))
		rss = max(rss, resident(t, a.pid(1)), resident(t, a.pid(2)))
		if built && a.open(t) <= left {
			return queued, rss
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			built, done = true, nil
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d circuits stand, want at most %d", a.open(t), left)
		}
	}
}

// open is how many circuits stand on the exit.
func (a *attack) open(t *testing.T) int {
	t.Helper()
	return int(metric(t, a.layout, 2, "sotto_relay_circuits_open"))
}

// queued is the most that guard or exit hold.
func (a *attack) queued(t *testing.T) uint64 {
	t.Helper()
	const name = "sotto_relay_queued_bytes"
	return uint64(max(metric(t, a.layout, 1, name), metric(t, a.layout, 2, name)))
}

func (a *attack) pid(i int) int { return a.layout.Network.Processes[a.real(i).ID].PID }

// build makes circuits, some at a time, on links that are kept.
func (a *attack) build(ctx context.Context, circuits int, use func(*rawStream) error) error {
	var left atomic.Int64
	left.Store(int64(circuits))
	errs := make([]error, memoryClients)
	var builders sync.WaitGroup
	for i := range errs {
		builders.Go(func() {
			for errs[i] == nil && left.Load() > 0 && ctx.Err() == nil {
				errs[i] = a.buildOn(ctx, &left, use)
			}
		})
	}
	builders.Wait()
	return errors.Join(errs...)
}

// buildOn makes as many circuits as one link may have. A lost link is another
// client's that comes in its place.
func (a *attack) buildOn(ctx context.Context, left *atomic.Int64, use func(*rawStream) error) error {
	conn, err := a.dial(a.real(1), nil, narrowWindow)
	if err != nil {
		return unlessLost(err)
	}
	for range memoryPerLink {
		if left.Add(-1) < 0 {
			return nil
		}
		c, err := newRawCircuit(ctx, conn, a.real(1), a.real(2))
		if err == nil {
			err = use(c.begin(1, a.target.Node))
		}
		if err != nil && resetCode(err) != int(onion.ReasonLimit) { // it may have been ended already
			left.Add(1)
			return unlessLost(err)
		}
	}
	return nil
}

func unlessLost(err error) error {
	if lost(err) {
		return nil
	}
	return err
}

// honest asks a swarm over a circuit of the same nodes until ctx is done, and
// once more. Another circuit takes its place when a link was lost, and only then.
func (a *attack) honest(ctx context.Context) (answers int, worst time.Duration, err error) {
	for {
		n, slow, err := a.honestCircuit(ctx)
		answers, worst = answers+n, max(worst, slow)
		if err == nil || !lost(err) {
			return answers, worst, err
		}
	}
}

func (a *attack) honestCircuit(ctx context.Context) (answers int, worst time.Duration, err error) {
	conn, err := a.dial(a.real(1), nil, wideWindow)
	if err != nil {
		return 0, 0, err
	}
	c, err := newRawCircuit(a.t.Context(), conn, a.real(1), a.real(2))
	if err != nil {
		return 0, 0, err
	}
	s := c.begin(1, a.real(3))
	for last := false; !last; answers++ {
		last = ctx.Err() != nil
		start := time.Now()
		if err := c.SetDeadline(start.Add(testWait)); err != nil {
			return answers, worst, err
		}
		if _, err := s.askKeys(); err != nil {
			return answers, worst, err
		}
		worst = max(worst, time.Since(start))
	}
	return answers, worst, nil
}

// gift takes what the target sends, over another circuit with the same exit: it
// comes although others do not take what was sent to them.
func (a *attack) gift() error {
	conn, err := a.dial(a.real(4), nil, wideWindow)
	if err != nil {
		return err
	}
	c, err := newRawCircuit(a.t.Context(), conn, a.real(4), a.real(2))
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, c.begin(1, a.target.Node), giftSize)
	return err
}

// resident is how much memory a process uses; 0 where this cannot be read.
func resident(t *testing.T, pid int) uint64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// unread are two ways to make a node hold what nobody takes.
var unread = []struct {
	name  string
	gives bool // the target sends, and the client does not read
	least int  // what the exit holds at least for one of these
	use   func(*rawStream) error
}{
	{"client that never reads", true, link.ServiceWindow, func(*rawStream) error { return nil }},
	{"service that never reads", false, 100 << 10, func(s *rawStream) error {
		_, err := s.Write(make([]byte, 128<<10))
		return err
	}},
}

// TestMemory makes a node hold for 1,000 readers who never read: it stays under
// its limit, ends the circuits that it holds most for, and serves an honest one
// meanwhile as if nothing were the matter.
func TestMemory(t *testing.T) {
	for _, u := range unread {
		t.Run(u.name, func(t *testing.T) {
			a := newAttack(t, memoryLimit)
			a.gives.Store(u.gives)
			idle := max(resident(t, a.pid(1)), resident(t, a.pid(2)))
			ctx, stop := context.WithCancel(t.Context())
			type result struct {
				answers int
				worst   time.Duration
				err     error
			}
			served := make(chan result, 1)
			go func() {
				n, worst, err := a.honest(ctx)
				served <- result{n, worst, err}
			}()
			const others = 2 // the honest one's, and one in place of it
			queued, rss := a.run(t, memoryCircuits, memoryLimit<<20/u.least+others, u.use)
			if u.gives {
				steady(t, a.gift)
			}
			stop()
			honest := <-served
			if honest.err != nil || honest.answers == 0 {
				t.Errorf("the honest circuit: %d answers, then %v", honest.answers, honest.err)
			}
			if queued > memoryLimit<<20+queuedSlack {
				t.Errorf("%d bytes waited, beyond the limit of %d MiB", queued, memoryLimit)
			}
			if allowed := idle + 2*memoryLimit<<20 + memorySlack; rss > allowed && !raced {
				t.Errorf("a node used %d MiB, and %d when idle; at most %d are expected", rss>>20, idle>>20, allowed>>20)
			}
			t.Logf("at most %d KiB waited, %d MiB used (%d when idle); the honest circuit got %d answers, the worst after %v",
				queued>>10, rss>>20, idle>>20, honest.answers, honest.worst)
		})
	}
	t.Run("without a limit", func(t *testing.T) {
		for _, u := range unread {
			a := newAttack(t, 8*memoryCircuits)
			a.gives.Store(u.gives)
			queued, _ := a.run(t, 2*memoryLimit<<20/u.least, memoryCircuits, u.use)
			for queued <= memoryLimit<<20+queuedSlack { // until the check sees it, or the test's time is over
				queued = a.queued(t)
			}
		}
	})
}
