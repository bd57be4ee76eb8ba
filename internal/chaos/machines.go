package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"sotto/internal/faults"
	"sotto/internal/testnet"
)

// supervise is how often it is looked whether a node has ended by itself.
const supervise = 250 * time.Millisecond

// machines are the nodes' processes and what lies beneath them.
type machines struct {
	layout *testnet.Layout
	procs  *testnet.Processes
	log    *slog.Logger
	all    []*machine // node N at index N-1
}

// machine is one node's.
type machine struct {
	turn sync.Mutex // held while it has a fault other than a wrong clock

	mu     sync.Mutex // guards what follows, and the process
	state  faults.State
	down   bool // killed, and not to be started again yet
	absent bool // it has yet to join
	full   bool // its disk was full since the process started
	fell   []string
}

func newMachines(l *testnet.Layout, procs *testnet.Processes, log *slog.Logger) *machines {
	m := &machines{layout: l, procs: procs, log: log}
	for range l.Nodes {
		m.all = append(m.all, new(machine))
	}
	return m
}

// grow takes in a node that does not run yet; restart starts it.
func (m *machines) grow() (n int, err error) {
	e, err := m.layout.Grow()
	if err != nil {
		return 0, err
	}
	m.procs.Add(e)
	m.all = append(m.all, &machine{down: true, absent: true})
	return len(m.all), nil
}

// absent reports whether node n has yet to join; while it does, it waits.
func (m *machines) absent(n int) bool {
	a := m.all[n-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.absent
}

// shake changes what lies beneath node n.
func (m *machines) shake(n int, change func(*faults.State)) error {
	a := m.all[n-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.state)
	a.full = a.full || a.state.DiskFull
	return faults.Set(m.layout.Nodes[n-1].Dir, a.state)
}

// addresses are where nodes are.
func (m *machines) addresses(nodes []int) []netip.Addr {
	var out []netip.Addr
	for _, n := range nodes {
		out = append(out, m.layout.Nodes[n-1].Node.Addr.Addr())
	}
	return out
}

func (m *machines) kill(n int) error {
	a := m.all[n-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = true
	select {
	case <-m.procs.Ended(n):
		return nil
	default:
	}
	return m.procs.Kill(n)
}

// restart starts a node that was killed, and waits until it is healthy.
func (m *machines) restart(ctx context.Context, n int) error {
	a := m.all[n-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down, a.absent, a.full = false, false, a.state.DiskFull
	_, err := m.procs.Restart(ctx, n)
	return err
}

// stop and resume do without the process's doing; see pause.
func (m *machines) stop(n int) error   { return m.pause(n, true) }
func (m *machines) resume(n int) error { return m.pause(n, false) }

func (m *machines) pause(n int, stop bool) error {
	a := m.all[n-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	return m.procs.Signal(n, pauseSignal(stop))
}

// supervise starts nodes again that ended by themselves, as an operator's system
// would, and notes those that had no reason to.
func (m *machines) supervise(ctx context.Context) {
	tick := time.NewTicker(supervise)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for i := range m.all {
			m.look(ctx, i+1)
		}
	}
}

func (m *machines) look(ctx context.Context, n int) {
	a := m.all[n-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-m.procs.Ended(n):
	default:
		return
	}
	if a.down || a.state.DiskFull || ctx.Err() != nil {
		return // it is to be down, or could not start
	}
	if !a.full {
		a.fell = append(a.fell, fmt.Sprintf("node %d ended by itself: see %s", n, filepath.Join(m.layout.Nodes[n-1].Dir, "log")))
	}
	m.log.Info("starting a node again that ended", "node", n, "its disk was full", a.full)
	a.full = false
	if _, err := m.procs.Restart(ctx, n); err != nil && ctx.Err() == nil {
		a.fell = append(a.fell, fmt.Sprintf("node %d does not start again: %v", n, err))
	}
}

// fallen says which nodes ended that had no reason to.
func (m *machines) fallen() (out []string) {
	for _, a := range m.all {
		a.mu.Lock()
		out = append(out, a.fell...)
		a.mu.Unlock()
	}
	return out
}

// heal mends everything beneath all nodes but their clocks' advance, and starts
// those that are down.
func (m *machines) heal(ctx context.Context) error {
	var errs []error
	for i, a := range m.all {
		n := i + 1
		errs = append(errs, m.shake(n, func(s *faults.State) { *s = faults.State{} }), m.resume(n))
		a.mu.Lock()
		down := a.down && !a.absent
		a.mu.Unlock()
		if down {
			errs = append(errs, m.restart(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// reboot kills all nodes and starts them, as when the power fails everywhere.
func (m *machines) reboot(ctx context.Context) error {
	errs := make([]error, len(m.all))
	for i := range m.all {
		errs[i] = m.kill(i + 1)
	}
	var starts sync.WaitGroup
	for i := range m.all {
		starts.Go(func() { errs[i] = errors.Join(errs[i], m.restart(ctx, i+1)) })
	}
	starts.Wait()
	return errors.Join(errs...)
}
