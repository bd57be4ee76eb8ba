package testnet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"sotto/internal/client"
	"sotto/internal/mailbox"
	"sotto/internal/node"
)

// runNode is a node's process, as `sotto node run` is one; it logs all that
// there is.
func runNode(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n, err := node.Start(node.Config{Dir: dir, Metrics: "127.0.0.1:0", Logger: log})
	if err == nil {
		<-ctx.Done()
		err = n.Close()
	}
	if err != nil {
		log.Error("node", "error", err)
		return 1
	}
	return 0
}

const (
	// memoryPiece is how much of a memory is looked at together.
	memoryPiece = 4 << 20
	// shadowSize is more than any part of a node's memory, but for the shadow
	// that a race detector keeps.
	shadowSize = 1 << 30
)

// searchMemory searches all that a process, which this one started, has written
// to its memory, while it runs.
func searchMemory(pid int, s *searcher) (map[string]bool, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, err
	}
	defer pages.Close()
	found := map[string]bool{}
	piece := make([]byte, memoryPiece)
	lines := bufio.NewScanner(bytes.NewReader(maps))
	for lines.Scan() {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(mode, "rw") || to-from > shadowSize {
			continue
		}
		for _, run := range touched(pages, from, to) {
			for from, to := run[0], run[1]; from < to; {
				n, _ := mem.ReadAt(piece[:min(to-from, memoryPiece)], int64(from))
				s.find(piece[:n], found)
				if n < memoryPiece { // the end, or gone since it was listed
					break
				}
				from += uint64(n - s.longest) // a needle may lie across
			}
		}
	}
	return found, lines.Err()
}

// touched returns the runs of pages between two addresses that are in memory or
// swapped out; others hold zeros.
func touched(pagemap *os.File, from, to uint64) (runs [][2]uint64) {
	size := uint64(os.Getpagesize())
	entries := make([]byte, (to-from)/size*8)
	n, _ := pagemap.ReadAt(entries, int64(from/size*8))
	for i := 0; i+8 <= n; i += 8 {
		if entries[i+7]>>6 == 0 { // neither present nor swapped
			continue
		}
		page := from + uint64(i/8)*size
		if last := len(runs) - 1; last >= 0 && runs[last][1] == page {
			runs[last][1] += size
		} else {
			runs = append(runs, [2]uint64{page, page + size})
		}
	}
	return runs
}

// TestCuriousMemory runs every node as a process of its own and reads all their
// memory while messages are under way and after them: no node holds anything of
// a person, and the address of a mailbox is in the memory of its swarm alone.
func TestCuriousMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("another process's memory is read by way of /proc, which only Linux has")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Prepare(t.TempDir(), 15, 5)
	if err != nil {
		t.Fatal(err)
	}
	procs, err := Up(t.Context(), l, program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := procs.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &Network{layout: l}
	ada, ben := newPerson(t, n, "Ada Quillfeather", nil), newPerson(t, n, "Ben Thistlewood", nil)
	befriend(t, &ada.account, &ben.account)
	converse(t, ada, ben, 12)
	ada.close(t)
	ben.close(t)
	needles, boxes := insights(t, ada, ben)
	ada.open(t, nil)
	ben.open(t, nil)

	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	there, back := say(t, ctx, ada, ben.ID(), 12), say(t, ctx, ben, ada.ID(), 12)
	checkMemories(t, "during the conversation", procs, needles, boxes)
	there.await(t, ctx, client.MessageDelivered)
	back.await(t, ctx, client.MessageDelivered)
	checkMemories(t, "after it", procs, needles, boxes)
	ada.close(t)
	ben.close(t)
	checkProcessLogs(t, l, append(needles, networkAddresses(ada, ben)...), boxes)
}

// checkMemories searches the memory of all nodes. That every node's own ID is
// found, and addresses in swarms, shows that the search reads what is there.
func checkMemories(t *testing.T, when string, procs *Processes, needles []needle, boxes []box) {
	t.Helper()
	dir, err := procs.layout.Network.Directory()
	if err != nil {
		t.Fatal(err)
	}
	raw, written := addresses(boxes)
	home := map[string]mailbox.Address{}
	for i, n := range raw {
		home[n.what] = boxes[i].addr
	}
	s := newSearcher(append(append(append(ownIDs(procs.layout), needles...), raw...), written...))
	kept := 0
	for i, p := range procs.procs {
		found, err := searchMemory(p.cmd.Process.Pid, s)
		if errors.Is(err, fs.ErrPermission) {
			t.Skip("this system does not let a process read its children's memory")
		}
		if err != nil {
			t.Fatal(err)
		}
		if !found[ownID(i)] {
			t.Fatalf("%s, the memory of node %d does not hold its own ID: it was not read", when, i+1)
		}
		for what := range found {
			a, ok := home[what]
			switch {
			case strings.HasPrefix(what, "node "):
			case !ok:
				t.Errorf("%s, the memory of node %d holds %s", when, i+1, what)
			case !dir.InSwarmOf(p.entry.Node.ID, a):
				t.Errorf("%s, the memory of node %d, which does not keep it, holds the %s", when, i+1, what)
			default:
				kept++
			}
		}
	}
	if kept < 2*5 {
		t.Errorf("%s, the address of a mailbox was found in its swarm %d times: the search does not see them", when, kept)
	}
}

func ownID(i int) string { return fmt.Sprintf("node %d's ID", i+1) }

func ownIDs(l *Layout) (out []needle) {
	for i, e := range l.Nodes {
		out = append(out, needle{ownID(i), e.Node.ID[:]})
	}
	return out
}

// checkProcessLogs searches what the processes wrote.
func checkProcessLogs(t *testing.T, l *Layout, needles []needle, boxes []box) {
	t.Helper()
	raw, written := addresses(boxes)
	s := newSearcher(append(append(append([]needle{{"a line", []byte(`"level":"DEBUG"`)}}, needles...), raw...), written...))
	lines := 0
	for i, e := range l.Nodes {
		f, err := os.Open(e.Dir + "/" + logFile)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		s.find(b, found)
		if found["a line"] {
			lines++
			delete(found, "a line")
		}
		for what := range found {
			t.Errorf("the log of node %d holds %s", i+1, what)
		}
	}
	if lines == 0 {
		t.Error("no node logged anything: the search saw no logs")
	}
}
