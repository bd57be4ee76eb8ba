//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sotto/internal/api"
	"sotto/internal/directory"
	"sotto/internal/node"
	"sotto/internal/testnet"
)

// handedOver is what a node that left says when nobody needs it any more.
const handedOver = "it may be switched off"

// TestMembershipChanges lets two people write to one another while five nodes
// join one by one, until two swarms become three, and two leave, the first of
// which makes them two again. Every message arrives once and in order.
func TestMembershipChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("grows and shrinks a network of 10 processes")
	}
	l, nodes := startNetwork(t, 10, 5)
	alice, bob := newPerson(t, l, "alice"), newPerson(t, l, "bob")
	befriend(alice, bob)
	n := &changing{t: t, l: l, nodes: nodes, gone: make(map[int]bool)}
	toBob, toAlice := converse(alice, bob, "a"), converse(bob, alice, "b")

	var change changeJSON
	for i := 11; i <= 15; i++ {
		change = n.join(i)
	}
	if len(change.Created) != 1 {
		t.Fatalf("the fifteenth node made swarms %v, want one", change.Created)
	}
	// Each swarm has other members now, so that whoever puts has to know.
	alice.awaitSerial(change.Serial)
	bob.awaitSerial(change.Serial)

	change = n.leave(3)
	if len(change.Dissolved) != 1 {
		t.Fatalf("after one left, swarms %v were dissolved, want one", change.Dissolved)
	}
	alice.awaitSerial(change.Serial)
	bob.awaitSerial(change.Serial)
	n.leave(12)
	n.off(3)
	n.off(12)

	sentToBob, sentToAlice := toBob(), toAlice()
	bob.expect(sentToBob)
	alice.expect(sentToAlice)
	t.Logf("%d and %d messages arrived", len(sentToBob), len(sentToAlice))

	// What is on disk is a network of the nodes that there are now.
	if err := nodes.Close(); err != nil {
		t.Fatal(err)
	}
	if got := testnetUp(t, l.Dir); got != 13 {
		t.Fatalf("%d nodes were started again, want 13", got)
	}
	alice.send(bob, "after")
	bob.expect([]string{"after"})
}

// changing is a network that grows and shrinks.
type changing struct {
	t     *testing.T
	l     *testnet.Layout
	nodes *testnet.Processes
	gone  map[int]bool
}

// join does what the operator of node i and the holder of the key do, and waits
// until all nodes are done.
func (n *changing) join(i int) changeJSON {
	n.t.Helper()
	dir := filepath.Join(n.l.Dir, fmt.Sprintf("node-%02d", i))
	sottoRuns(n.t, nil, "node", "init", "--dir", dir, "--operator", fmt.Sprintf("joiner-%d", i),
		"--address", fmt.Sprintf("127.%d.0.1:%d", i, n.l.Nodes[0].Node.Addr.Port()))
	c := n.change("join", filepath.Join(dir, cardFile))
	n.publish(dir)
	now, err := testnet.Open(n.l.Dir)
	if err != nil {
		n.t.Fatal(err)
	}
	e := now.Nodes[i-1]
	n.l.Nodes = append(n.l.Nodes, e)
	n.nodes.Add(e)
	info, err := n.nodes.Restart(n.t.Context(), i)
	if err != nil {
		n.t.Fatal(err)
	}
	n.l.Network.Processes[e.Node.ID] = directory.Process{PID: info.PID, Dir: e.Dir, Metrics: info.Metrics}
	n.publish(n.l.Nodes[0].Dir)
	n.settle(c.Serial)
	return c
}

// leave takes node i out of the network, and waits until it may be switched off.
func (n *changing) leave(i int) changeJSON {
	n.t.Helper()
	c := n.change("leave", n.l.Nodes[i-1].Node.ID.String())
	n.publish(n.l.Nodes[0].Dir)
	n.settle(c.Serial)
	n.await(func() string {
		b, err := os.ReadFile(filepath.Join(n.l.Nodes[i-1].Dir, "log"))
		if err != nil {
			n.t.Fatal(err)
		}
		if !strings.Contains(string(b), handedOver) {
			return fmt.Sprintf("node %d does not say that it may be switched off", i)
		}
		return ""
	})
	return c
}

// off stops a node for good.
func (n *changing) off(i int) {
	n.t.Helper()
	if err := n.nodes.Signal(i, syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	<-n.nodes.Ended(i)
	n.gone[i] = true
}

// change signs the next directory.
func (n *changing) change(verb, what string) (c changeJSON) {
	n.t.Helper()
	sottoRuns(n.t, &c, "network", verb, "--json", "--key", filepath.Join(n.l.Dir, testnet.KeyFile), "--network", n.l.File(), what)
	n.t.Logf("serial %d: %s, created %v, dissolved %v, moved %d", c.Serial, verb, c.Created, c.Dissolved, len(c.Moved))
	return c
}

// publish copies the network's file into a node's folder, and says so to the
// first node, from which the others hear.
func (n *changing) publish(dir string) {
	n.t.Helper()
	b, err := os.ReadFile(n.l.File())
	if err != nil {
		n.t.Fatal(err)
	}
	if err := node.ReplaceFile(filepath.Join(dir, testnet.NetworkFile), b); err != nil {
		n.t.Fatal(err)
	}
	if dir == n.l.Nodes[0].Dir {
		if err := n.nodes.Signal(1, syscall.SIGHUP); err != nil {
			n.t.Fatal(err)
		}
	}
}

// settle waits until all nodes have a directory and all that it gives them.
func (n *changing) settle(serial uint64) {
	n.t.Helper()
	began := time.Now()
	n.await(func() string {
		var lacks []string
		for i := range n.l.Nodes {
			if n.gone[i+1] {
				continue
			}
			if got := metric(n.t, n.l, i+1, "sotto_directory_serial"); got != float64(serial) {
				lacks = append(lacks, fmt.Sprintf("node %d has serial %v", i+1, got))
			}
			for _, name := range []string{"sources", "mailboxes"} {
				if got := metric(n.t, n.l, i+1, "sotto_swarm_moving_"+name); got != 0 {
					lacks = append(lacks, fmt.Sprintf("%s of node %d: %v", name, i+1, got))
				}
			}
		}
		return strings.Join(lacks, ", ")
	})
	n.t.Logf("serial %d settled after %v", serial, time.Since(began).Round(time.Millisecond))
}

func (n *changing) await(lacks func() string) {
	n.t.Helper()
	awaitNothing(n.t, lacks)
}

// awaitSerial waits until the account uses a directory that is as new.
func (p *person) awaitSerial(serial uint64) {
	p.t.Helper()
	awaitNothing(p.t, func() string {
		var me api.Me
		p.get("/me", &me)
		if me.Network.Serial < serial {
			return fmt.Sprintf("the client has serial %d, want %d", me.Network.Serial, serial)
		}
		return ""
	})
}

// converse lets one person write to another until the returned function is
// called, which returns all that was acknowledged.
func converse(from, to *person, prefix string) (stop func() []string) {
	ctx, cancel := context.WithCancel(from.t.Context())
	sent := make(chan []string, 1)
	var failed error
	go func() {
		var texts []string
		defer func() { sent <- texts }()
		tick := time.NewTicker(250 * time.Millisecond) // the pace of writing
		defer tick.Stop()
		for i := 1; ; i++ {
			text := fmt.Sprintf("%s-%d", prefix, i)
			// Not under ctx: whether a message was taken is never left open.
			if _, failed = from.Send(from.t.Context(), to.ID(), text); failed != nil {
				return
			}
			texts = append(texts, text)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() []string {
		from.t.Helper()
		cancel()
		texts := <-sent
		if failed != nil {
			from.t.Fatal(failed)
		}
		return texts
	}
}

// sottoRuns runs a command, and reads what it prints as JSON if out is given.
func sottoRuns(t *testing.T, out any, args ...string) {
	t.Helper()
	cmd := exec.Command(programPath(t), args...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	b, err := cmd.Output()
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		t.Fatalf("sotto %v: %v\n%s", args, err, complaints.String())
	}
}

// testnetUp runs `sotto testnet up` until the test ends, and returns how many
// nodes it says to have started.
func testnetUp(t *testing.T, dir string) int {
	t.Helper()
	cmd := exec.Command(programPath(t), "testnet", "up", "--json", "--dir", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var ready struct{ Nodes int }
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		t.Fatalf("sotto testnet up: %v, %q", err, line)
	}
	return ready.Nodes
}
