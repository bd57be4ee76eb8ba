package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sotto/internal/testnet"
)

// The processes that are weighed.
const (
	idleNodes = 15
	idleSwarm = 5
	// idleTime is how long they are left alone before: longer than what starting
	// leaves to do.
	idleTime = 15 * time.Second
	// startTimeout bounds the start of a client, which stretches its passphrase.
	startTimeout = 30 * time.Second
	// stopTimeout is a process's time for a clean stop.
	stopTimeout = 6 * time.Second
)

// passphraseEnv is where the program looks for a passphrase (cmd/sotto).
const passphraseEnv = "SOTTO_PASSPHRASE"

// idle starts this program as nodes and as a client, and weighs the processes.
func idle(ctx context.Context, r Run) (err error) {
	if runtime.GOOS != "linux" {
		r.Note("no figures: memory is read from /proc, which this system lacks")
		return nil
	}
	layout, program, err := idleNetwork(r, "network")
	if err != nil {
		return err
	}
	r.Note("starting %d nodes and a client", idleNodes)
	nodes, err := testnet.Up(ctx, layout, program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()
	p, err := createProfile(ctx, program, layout.File(), filepath.Join(r.Dir, "profile"))
	if err != nil {
		return err
	}
	daemon, err := p.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.close()) }()
	r.Note("leaving them alone for %v", idleTime)
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	return weigh(r, layout, daemon)
}

// idleNetwork prepares a network of processes, which are this program.
func idleNetwork(r Run, name string) (*testnet.Layout, string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	layout, err := testnet.Prepare(filepath.Join(r.Dir, name), idleNodes, idleSwarm)
	return layout, program, err
}

func weigh(r Run, layout *testnet.Layout, daemon *daemon) error {
	var nodes []float64
	for _, p := range layout.Network.Processes {
		rss, err := residentBytes(p.PID)
		if err != nil {
			return err
		}
		nodes = append(nodes, rss)
	}
	client, err := residentBytes(daemon.cmd.Process.Pid)
	if err != nil {
		return err
	}
	return r.emit(
		Figure{Bench: "idle", Name: "client_rss", Value: client, Unit: "bytes"},
		Figure{Bench: "idle", Name: "node_rss", Value: middle(nodes), Unit: "bytes"},
	)
}

// residentBytes returns what of a process is in memory.
func residentBytes(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "VmRSS:" && fields[2] == "kB" {
			kb, err := strconv.ParseFloat(fields[1], 64)
			return kb * 1024, err
		}
	}
	return 0, errors.New("bench: a process tells no VmRSS")
}

// daemon is a client as a process.
type daemon struct {
	cmd  *exec.Cmd
	done chan error
}

// profile is an account in a folder of its own.
type profile struct{ program, dir, passphrase string }

func createProfile(ctx context.Context, program, network, dir string) (*profile, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p := &profile{program: program, dir: dir, passphrase: rand.Text()}
	create := exec.CommandContext(ctx, program, "init", "--json", "--network", network, "--profile", dir)
	create.Env = p.env()
	if out, err := create.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("bench: making an account: %w: %s", err, bytes.TrimSpace(out))
	}
	return p, nil
}

func (p *profile) env() []string { return append(os.Environ(), passphraseEnv+"="+p.passphrase) }

// startDaemon serves the account; it returns when it is unlocked.
func (p *profile) startDaemon(ctx context.Context) (*daemon, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.Command(p.program, "daemon", "--json", "--profile", p.dir)
	cmd.Env = p.env()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &daemon{cmd: cmd, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { // ends with the process, awaited by close
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			if first {
				close(ready)
			}
		}
		d.done <- cmd.Wait()
	}()
	select {
	case <-ready:
		return d, nil
	case err := <-d.done:
		return nil, fmt.Errorf("bench: the client ended while starting: %w", err)
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("bench: the client did not start: %w", ctx.Err()), d.close())
	}
}

// close stops the client and waits for it.
func (d *daemon) close() error {
	// An error means that it has exited, which done tells as well.
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-d.done:
		return err
	case <-time.After(stopTimeout):
		_ = d.cmd.Process.Kill()
		<-d.done
		return errors.New("bench: the client did not stop and was killed")
	}
}
