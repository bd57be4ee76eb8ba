// Package faults breaks what lies beneath a node for tests: its clock, its
// network and its disk. What is broken stands in a file of the node's folder,
// which whoever tests rewrites while the node runs (docs/chaos.md).
//
// Only builds with the tag chaos contain it: cmd/sotto imports it in one file
// of that tag, and a test there holds that no other build does.
package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// file holds the State in a node's folder. It outlives the process, as what
	// is wrong with a machine does.
	file = "faults.json"
	// poll is how often the file is looked at: a file has no event that every
	// system offers.
	poll = 50 * time.Millisecond
)

// State is what is wrong. The zero State is a machine in good order.
type State struct {
	// Clock is how far the node's clock is ahead.
	Clock time.Duration `json:"clock"`
	// Alone drops every packet, Cut those from and to some addresses.
	Alone bool         `json:"alone"`
	Cut   []netip.Addr `json:"cut,omitempty"`
	// DiskFull refuses what takes room on the disk.
	DiskFull bool `json:"disk_full"`
	// DiskWait is how much longer each sync takes.
	DiskWait time.Duration `json:"disk_wait"`
}

// Set breaks or mends what lies beneath the node in dir. It is in one step, so
// that no reader sees half.
func Set(dir string, s State) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Ground is what a node stands on.
type Ground struct {
	path  string
	state atomic.Pointer[State]
	stop  chan struct{}
	wg    sync.WaitGroup
}

// Open reads what is wrong with the node in dir, and follows it until Close.
func Open(dir string) (*Ground, error) {
	g := &Ground{path: filepath.Join(dir, file), stop: make(chan struct{})}
	if err := g.read(); err != nil {
		return nil, err
	}
	g.wg.Go(g.follow)
	return g, nil
}

// Close stops following the file; what was wrong last stays so.
func (g *Ground) Close() {
	close(g.stop)
	g.wg.Wait()
}

func (g *Ground) follow() {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// Set leaves no file that cannot be read; one of somebody else's
			// changes nothing.
			_ = g.read()
		case <-g.stop:
			return
		}
	}
}

func (g *Ground) read() error {
	var s State
	b, err := os.ReadFile(g.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("faults: %w", err)
	default:
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("faults: %s: %w", file, err)
		}
	}
	g.state.Store(&s)
	return nil
}

// Now is the node's clock.
func (g *Ground) Now() time.Time { return time.Now().Add(g.state.Load().Clock) }

// drops reports whether packets from and to addr get lost.
func (g *Ground) drops(addr netip.Addr) bool {
	s := g.state.Load()
	return s.Alone || slices.Contains(s.Cut, addr.Unmap())
}
