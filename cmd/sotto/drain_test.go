//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sotto/internal/onion"
	"sotto/internal/testnet"
)

// patientDrain is longer than any test waits: a node that ends does so for
// another reason.
const patientDrain = "--drain=1h"

// parting is a real node that is told to stop, and its log.
type parting struct {
	*stage
	i     int // from 1
	exits chan error
}

func (s *stage) part(i int) *parting {
	p := &parting{stage: s, i: i, exits: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.procs.Wait(ctx, func(e testnet.Entry, err error) {
			if e.Node.ID == s.real(i).ID {
				p.exits <- err
			}
		})
	}()
	s.t.Cleanup(func() { cancel(); <-ended })
	return p
}

func (p *parting) signal() {
	p.t.Helper()
	pid := p.layout.Network.Processes[p.real(p.i).ID].PID
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// said waits for a line of the node's log, and returns the number that it gives
// for name.
func (p *parting) said(begin, name string) int {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond) // a file tells nobody that it grew
	defer tick.Stop()
	for end := time.Now().Add(testWait); time.Now().Before(end); <-tick.C {
		b, err := os.ReadFile(filepath.Join(p.layout.Nodes[p.i-1].Dir, "log"))
		if err != nil {
			p.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) != nil || !strings.HasPrefix(fmt.Sprint(entry["msg"]), begin) {
				continue
			}
			n, ok := entry[name].(float64)
			if !ok {
				p.t.Fatalf("%s is no number in %s", name, line)
			}
			return int(n)
		}
	}
	p.t.Fatalf("the node does not say %q", begin)
	return 0
}

// exited waits for a clean end.
func (p *parting) exited() {
	p.t.Helper()
	select {
	case err := <-p.exits:
		if err != nil {
			p.t.Fatalf("a node that was told to stop ended with %v", err)
		}
	case <-time.After(testWait):
		p.t.Fatal("the node goes on")
	}
}

// stayer builds a circuit through the node, and leaves it when told to only.
func (p *parting) stayer() (circuit *rawCircuit, leave func() error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), testWait)
	p.t.Cleanup(cancel)
	steady(p.t, func() error {
		conn, err := p.dial(p.real(p.i), nil, wideWindow)
		if err != nil {
			return err
		}
		leave = func() error { return conn.CloseWithError(0, "") }
		circuit, err = newRawCircuit(ctx, conn, p.real(p.i))
		return err
	})
	return circuit, leave
}

// told waits for what a node that drains says to its clients.
func (p *parting) told(c *rawCircuit) {
	p.t.Helper()
	m, err := c.hear(0)
	if err != nil {
		p.t.Fatal(err)
	}
	if m.Command != onion.MsgTruncated {
		p.t.Fatalf("a draining node says %v", m.Command)
	}
}

// A node that is told to stop says how many circuits it waits for, tells their
// clients, and ends well as soon as the last has gone (spec/circuit.md §4.9).
func TestDrainEndsWithTheCircuits(t *testing.T) {
	p := newStage(t, 0, 5, patientDrain).part(1)
	c, leave := p.stayer()
	p.signal()
	if n := p.said("draining", "circuits"); n < 1 {
		t.Errorf("the node waits for %d circuits, and one stands", n)
	}
	p.told(c)
	// A circuit that stands is still served while others are refused.
	if err := c.extend(p.real(2)); err != nil {
		t.Errorf("a circuit of a draining node: %v", err)
	}
	select {
	case err := <-p.exits:
		t.Fatalf("the node did not wait: %v", err)
	default:
	}
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	if left := p.said("stopping", "circuits_left"); left != 0 {
		t.Errorf("the node left %d circuits", left)
	}
	p.exited()
}

// A second signal stops a node at once, whoever is still there.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	p := newStage(t, 0, 5, patientDrain).part(1)
	c, leave := p.stayer()
	p.signal()
	p.said("draining", "circuits")
	p.told(c)
	p.signal()
	if left := p.said("stopping", "circuits_left"); left != 1 {
		t.Errorf("the node left %d circuits, not the one that stood", left)
	}
	p.exited()
	_ = leave() // an error says that the node has closed the link
}
