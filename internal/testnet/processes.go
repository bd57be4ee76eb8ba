package testnet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/node"
)

const (
	// readyTimeout bounds how long a node may take to answer its health page.
	readyTimeout = 30 * time.Second
	// readyPoll is how often a starting node is looked at.
	readyPoll = 50 * time.Millisecond
	// stopTimeout is a node's time for a clean stop (docs/operating.md), and a
	// second for the machine.
	stopTimeout = 6 * time.Second
	// logFile takes a node's output, in its folder.
	logFile = "log"
)

// Processes are the running nodes of a layout, each a process.
type Processes struct {
	layout  *Layout
	program string
	flags   []string
	procs   []*process
}

// process is one node; done is closed when it has exited with err.
type process struct {
	entry Entry
	cmd   *exec.Cmd
	log   *os.File
	done  chan struct{}
	err   error
}

// Up starts every node of the layout as `program node run --dir …`, with further
// flags, waits until all are healthy, and writes their process IDs into the
// network's file. On an error nothing is left running.
func Up(ctx context.Context, l *Layout, program string, flags ...string) (*Processes, error) {
	for _, e := range l.Nodes {
		if info, err := node.ReadRunInfo(e.Dir); err == nil && healthy(ctx, info.Metrics) {
			return nil, fmt.Errorf("testnet: the network in %s runs already (process %d is its %s): stop that one first", l.Dir, info.PID, filepath.Base(e.Dir))
		}
	}
	if err := l.give(); err != nil {
		return nil, err
	}
	p := &Processes{layout: l, program: program, flags: flags}
	for _, e := range l.Nodes {
		proc, err := startProcess(e, program, flags)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.procs = append(p.procs, proc)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	hints := make(map[identity.NodeID]directory.Process)
	for _, proc := range p.procs {
		info, err := proc.ready(ctx)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		hints[proc.entry.Node.ID] = directory.Process{PID: info.PID, Dir: proc.entry.Dir, Metrics: info.Metrics}
	}
	l.Network.Processes = hints
	if err := l.write(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func startProcess(e Entry, program string, flags []string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(e.Dir, logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{entry: e, log: log, done: make(chan struct{})}
	// No node waits for circuits to leave: the whole network goes at once, and
	// there is nowhere for them to go.
	p.cmd = exec.Command(program, append([]string{"node", "run", "--dir", e.Dir, "--drain=0s"}, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = ChildAttributes()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		p.err = errors.Join(p.cmd.Wait(), log.Close())
		close(p.done)
	}()
	return p, nil
}

// ready waits until the node says that it is healthy.
func (p *process) ready(ctx context.Context) (node.RunInfo, error) {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		info, err := node.ReadRunInfo(p.entry.Dir)
		if err == nil && info.PID == p.cmd.Process.Pid && healthy(ctx, info.Metrics) {
			return info, nil
		}
		select {
		case <-p.done:
			return node.RunInfo{}, fmt.Errorf("testnet: %s exited while starting: %w (see %s)", filepath.Base(p.entry.Dir), p.err, filepath.Join(p.entry.Dir, logFile))
		case <-ctx.Done():
			return node.RunInfo{}, fmt.Errorf("testnet: %s is not healthy: %w (see %s)", filepath.Base(p.entry.Dir), ctx.Err(), filepath.Join(p.entry.Dir, logFile))
		case <-tick.C:
		}
	}
}

func healthy(ctx context.Context, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}

// Kill ends node i (from 1) at once, as kill -9 does, and waits for it.
func (p *Processes) Kill(i int) error {
	proc := p.procs[i-1]
	err := proc.cmd.Process.Kill()
	<-proc.done
	return err
}

// Signal sends a signal to node i, unless it has ended.
func (p *Processes) Signal(i int, sig os.Signal) error {
	err := p.procs[i-1].signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Ended returns a channel that is closed when node i's process, as it runs now,
// has ended.
func (p *Processes) Ended(i int) <-chan struct{} { return p.procs[i-1].done }

// Restart starts node i again after it has ended, and waits until it is healthy.
// The network's file keeps the earlier process ID.
func (p *Processes) Restart(ctx context.Context, i int) (node.RunInfo, error) {
	proc, err := startProcess(p.procs[i-1].entry, p.program, p.flags)
	if err != nil {
		return node.RunInfo{}, err
	}
	p.procs[i-1] = proc
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return proc.ready(ctx)
}

// Add takes in a node that has joined the layout, as one that has ended: Restart
// starts it. No other method may run meanwhile.
func (p *Processes) Add(e Entry) {
	ended := make(chan struct{})
	close(ended)
	p.procs = append(p.procs, &process{entry: e, done: ended})
}

// signal sends a signal to a process, or returns os.ErrProcessDone.
func (p *process) signal(sig os.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		return p.cmd.Process.Signal(sig)
	}
}

// Wait blocks until ctx ends. A node that exits meanwhile is told to gone, once;
// the others go on.
func (p *Processes) Wait(ctx context.Context, gone func(Entry, error)) {
	exits := make(chan *process)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	for _, proc := range p.procs {
		watchers.Go(func() {
			select {
			case <-proc.done:
			case <-ctx.Done():
				return
			}
			select {
			case exits <- proc:
			case <-ctx.Done():
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case proc := <-exits:
			gone(proc.entry, proc.err)
		}
	}
}

// Close asks every node to stop and waits; one that does not in time is killed.
func (p *Processes) Close() error {
	for _, proc := range p.procs {
		// An error means that it has exited, which done tells as well.
		_ = proc.signal(syscall.SIGTERM)
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	var late error
	for _, proc := range p.procs {
		select {
		case <-proc.done:
			continue
		case <-timeout.C:
			timeout.Reset(0) // the others have had their time as well
		}
		late = errors.Join(late, fmt.Errorf("testnet: %s did not stop and was killed", filepath.Base(proc.entry.Dir)))
		_ = proc.cmd.Process.Kill()
		<-proc.done
	}
	return late
}
