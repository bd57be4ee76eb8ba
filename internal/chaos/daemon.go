package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"sotto/internal/api"
	"sotto/internal/testnet"
)

// passphrase is that of all accounts.
const passphrase = "a passphrase of a test"

// Daemon is `sotto daemon` on a profile of its own, as a process.
type Daemon struct {
	Program string
	Profile string
	Env     []string // which holds the passphrase
	Log     io.Writer

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
	remote *api.Remote   // nil while it does not run
	up     chan struct{} // closed when remote is set
}

// NewDaemon makes an account in dir on a network, and starts its daemon.
func NewDaemon(ctx context.Context, program, dir, network, name string, log io.Writer) (*Daemon, error) {
	d := &Daemon{Program: program, Profile: filepath.Join(dir, name), Log: log, up: make(chan struct{})}
	d.Env = append(os.Environ(), "SOTTO_PASSPHRASE="+passphrase)
	if out, err := d.command("init", "--network", network, "--name", name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chaos: sotto init: %w: %s", err, out)
	}
	return d, d.Start(ctx)
}

func (d *Daemon) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.Program, append([]string{"--profile", d.Profile}, args...)...)
	cmd.Env = d.Env
	cmd.SysProcAttr = testnet.ChildAttributes()
	return cmd
}

// Start runs the daemon and waits until it answers.
func (d *Daemon) Start(ctx context.Context) error {
	cmd := d.command("daemon")
	cmd.Stderr = d.Log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	link, done := make(chan string, 1), make(chan struct{})
	d.mu.Lock()
	d.cmd, d.done = cmd, done
	d.mu.Unlock()
	go func() { // awaited by Kill, as done
		defer close(done)
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n') // the prefix below says whether it came
		link <- line
		_, _ = io.Copy(io.Discard, lines) // until the process ends
		_ = cmd.Wait()                    // killed on purpose
	}()
	if line := <-link; !strings.HasPrefix(line, "http://127.0.0.1:") {
		return fmt.Errorf("chaos: the daemon printed %q", line)
	}
	remote, err := api.Dial(ctx, d.Profile)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remote = remote
	close(d.up)
	return nil
}

// Remote returns the daemon's API, once it runs.
func (d *Daemon) Remote(ctx context.Context) (*api.Remote, error) {
	for {
		d.mu.Lock()
		r, up := d.remote, d.up
		d.mu.Unlock()
		if r != nil {
			return r, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Pause stops the process where it stands, or lets it go on.
func (d *Daemon) Pause(stop bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.cmd.Process.Signal(pauseSignal(stop))
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Kill ends the daemon as kill -9 does.
func (d *Daemon) Kill() {
	d.mu.Lock()
	cmd, done := d.cmd, d.done
	if d.remote != nil {
		d.remote.Close()
		d.remote, d.up = nil, make(chan struct{})
	}
	d.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // an error says that it has ended
	<-done
}

// Ended tells whether the process has ended, by Kill or by itself.
func (d *Daemon) Ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}
