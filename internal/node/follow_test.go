package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// fleet is a network whose signing key a test has.
type fleet struct {
	t       *testing.T
	key     suite.SigningKey
	network *directory.Network
	port    uint16
	made    []directory.LocalNode
	dirs    []string
}

// newFleet lays out the folders of a network of so many nodes.
func newFleet(t *testing.T, nodes int) *fleet {
	t.Helper()
	key, err := suite.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, key: key, port: freePort(t, nodes+1)}
	f.network, f.made, err = directory.Local(directory.LocalConfig{Nodes: nodes, Port: f.port, Created: time.Now(), Key: key, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range f.made {
		f.layOut(n)
	}
	return f
}

func (f *fleet) layOut(n directory.LocalNode) string {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "node")
	if err := WriteDir(dir, Keys{Identity: n.Identity, Onion: n.Onion}, f.encode(f.network)); err != nil {
		f.t.Fatal(err)
	}
	f.dirs = append(f.dirs, dir)
	return dir
}

func (f *fleet) encode(n *directory.Network) []byte {
	f.t.Helper()
	b, err := n.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// change signs the next directory and makes it the fleet's.
func (f *fleet) change(c directory.Change) *directory.Network {
	f.t.Helper()
	d, err := f.network.Directory()
	if err != nil {
		f.t.Fatal(err)
	}
	p, err := d.Plan(rand.Reader, time.Now(), c)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.network, err = directory.SignDocument(f.key, p.Document); err != nil {
		f.t.Fatal(err)
	}
	return f.network
}

func (f *fleet) give(dir string, n *directory.Network) {
	f.t.Helper()
	if err := ReplaceFile(filepath.Join(dir, networkFile), f.encode(n)); err != nil {
		f.t.Fatal(err)
	}
}

// start runs the node of a folder until the test ends or stop is called.
func (f *fleet) start(dir string, log *slog.Logger) (n *Node, stop func()) {
	f.t.Helper()
	n, err := Start(Config{Dir: dir, Logger: log})
	if err != nil {
		f.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := n.Close(); err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(stop)
	return n, stop
}

// waitFor waits until a node's directories are as wanted.
func waitFor(t *testing.T, n *Node, want func(directory.Source) bool) {
	t.Helper()
	limit := time.After(time.Minute) // for a machine that is very busy
	for {
		changed := n.Directory().Changed()
		if want(n.Directory()) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("at serial %d with %d past directories after a minute", n.Directory().Current().Serial(), len(n.Directory().Past()))
		}
	}
}

func atSerial(serial uint64) func(directory.Source) bool {
	return func(s directory.Source) bool { return s.Current().Serial() == serial }
}

func storedSerial(t *testing.T, dir string) uint64 {
	t.Helper()
	n, err := (&folder{dir: dir}).read(networkFile)
	if err != nil {
		t.Fatal(err)
	}
	return n.Document.Serial
}

// The operator gives the new file to one node; all others hear of it, keep it,
// and start with it. A node that joins gets the past directories, and one that
// leaves goes on as a node of the past.
func TestDirectoryTravels(t *testing.T) {
	f := newFleet(t, 4)
	var logged safeBuffer
	var nodes []*Node
	for i, dir := range f.dirs {
		log := slog.New(slog.DiscardHandler)
		if i == 3 {
			log = slog.New(slog.NewTextHandler(&logged, nil))
		}
		n, _ := f.start(dir, log)
		nodes = append(nodes, n)
	}
	joiner, err := directory.NewLocalNode(rand.Reader, 5, f.port)
	if err != nil {
		t.Fatal(err)
	}
	next := f.change(directory.Change{Join: []directory.Node{joiner.Node}, Leave: []identity.NodeID{f.made[3].Node.ID}})
	f.give(f.dirs[0], next)
	nodes[0].Reload()
	for i, n := range nodes {
		waitFor(t, n, atSerial(1))
		if i == 0 {
			continue
		}
		if got := storedSerial(t, f.dirs[i]); got != 1 {
			t.Errorf("node %d stored serial %d", i+1, got)
		}
	}
	logged.waitFor(t, "not listed any more") // said once it is adopted
	n, stop := f.start(f.layOut(joiner), nil)
	waitFor(t, n, func(s directory.Source) bool { return len(s.Past()) == 1 && s.Past()[0].Serial() == 0 })
	// What it learned survives a restart, and the node that left starts too.
	stop()
	n, _ = f.start(f.dirs[4], nil)
	if past := n.Directory().Past(); len(past) != 1 {
		t.Errorf("%d past directories after a restart", len(past))
	}
	if err := nodes[3].Close(); err != nil {
		t.Error(err)
	}
	if n, err = Start(Config{Dir: f.dirs[3]}); err != nil {
		t.Fatalf("a node that left: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	// Once its directory matters no more, it is in none.
	later := func() time.Time { return time.Now().Add(directory.PastFor + time.Hour) }
	if _, err := Start(Config{Dir: f.dirs[3], Now: later}); err == nil || !strings.Contains(err.Error(), "does not list") {
		t.Errorf("a node that left long ago: %v", err)
	}
}

// A node never goes back, and does not take what is not its network's.
func TestFolderIsNotTrusted(t *testing.T) {
	f := newFleet(t, 1)
	first := f.network
	var logged safeBuffer
	n, stop := f.start(f.dirs[0], slog.New(slog.NewTextHandler(&logged, nil)))
	second := f.change(directory.Change{})
	forked := second.Document
	forked.Nodes = append([]directory.Node(nil), forked.Nodes...)
	forked.Nodes[0].Operator = "mallory"
	fork, err := directory.SignDocument(f.key, forked)
	if err != nil {
		t.Fatal(err)
	}
	f.give(f.dirs[0], second)
	n.Reload()
	waitFor(t, n, atSerial(1))
	if err := n.follower.adopt(fork); !errors.Is(err, directory.ErrForked) || !strings.Contains(logged.String(), "two different directories") {
		t.Errorf("a fork: %v", err)
	}
	proof, err := os.ReadFile(filepath.Join(f.dirs[0], forksDir, "1"+ForkSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := directory.ParseFork(proof); err != nil || p.Refused.Nodes()[0].Operator != "mallory" {
		t.Errorf("the proof of it: %v", err)
	}
	if err := n.follower.take(first); err != nil || n.Directory().Current().Serial() != 1 {
		t.Errorf("an older one: %v, at serial %d", err, n.Directory().Current().Serial())
	}
	stop()
	// An old file put back does not bring the old directory back.
	f.give(f.dirs[0], first)
	n, stop = f.start(f.dirs[0], nil)
	if got := n.Directory().Current().Serial(); got != 1 || storedSerial(t, f.dirs[0]) != 1 {
		t.Errorf("started with serial %d", got)
	}
	stop()
	if n, err = Start(Config{Dir: f.dirs[0], Metrics: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	if st, err := ReadStatus(context.Background(), f.dirs[0]); err != nil || st.Forks != 1 || !slices.ContainsFunc(st.Advice, func(s string) bool { return strings.Contains(s, forksDir) }) {
		t.Errorf("status with a proof in the folder: %+v (%v)", st, err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	// One that is put there while the node is away is refused, and proves as much.
	if err := os.RemoveAll(filepath.Join(f.dirs[0], forksDir)); err != nil {
		t.Fatal(err)
	}
	f.give(f.dirs[0], fork)
	if _, err := Start(Config{Dir: f.dirs[0]}); !errors.Is(err, directory.ErrForked) {
		t.Errorf("a forked file: %v", err)
	}
	if n, err := (&folder{dir: f.dirs[0]}).forks(); err != nil || n != 1 {
		t.Errorf("%d proofs of a forked file (%v)", n, err)
	}
	f.give(f.dirs[0], newFleet(t, 1).network)
	if _, err := Start(Config{Dir: f.dirs[0]}); !errors.Is(err, directory.ErrOther) {
		t.Errorf("another network's file: %v", err)
	}
}

// What is missing or damaged in a folder is replaced by what the other files
// have, as long as one is left, and what is there is not written again.
func TestFolderHealsItself(t *testing.T) {
	f := newFleet(t, 1)
	dir := f.dirs[0]
	f.give(dir, f.change(directory.Change{}))
	_, stop := f.start(dir, nil)
	stop()
	network, copied := filepath.Join(dir, networkFile), filepath.Join(dir, directoriesDir, copyName(1))
	good, err := os.ReadFile(network)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(copied)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"missing": nil, "empty": {}, "cut off": good[:len(good)/2]} {
		if err := os.Remove(network); err != nil {
			t.Fatal(err)
		}
		if damaged != nil {
			if err := os.WriteFile(network, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var logged safeBuffer
		n, stop := f.start(dir, slog.New(slog.NewTextHandler(&logged, nil)))
		if got := n.Directory().Current().Serial(); got != 1 || storedSerial(t, dir) != 1 {
			t.Errorf("%s: started with serial %d", name, got)
		}
		stop()
		if !strings.Contains(logged.String(), "set aside") {
			t.Errorf("%s: nothing is said of it", name)
		}
		if after, err := os.Stat(copied); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the copy was written again (%v)", name, err)
		}
		aside, err := os.ReadFile(network + suffixRefused)
		if damaged != nil && !bytes.Equal(aside, damaged) {
			t.Errorf("%s: %d bytes are set aside (%v)", name, len(aside), err)
		}
	}
	if err := os.WriteFile(copied, good[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = f.start(dir, nil)
	stop()
	if b, err := os.ReadFile(copied); err != nil || bytes.Equal(b, good[1:]) {
		t.Errorf("a damaged copy stays: %v", err)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, directoriesDir)), os.WriteFile(network, good[1:], 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "of whoever signs") {
		t.Errorf("without any directory: %v", err)
	}
}

// Copies that do not matter any more are removed, files that a crash left half
// written are no copies, and one between copy and network.json loses nothing.
func TestFolderKeepsWhatMatters(t *testing.T) {
	f := newFleet(t, 1)
	folder := &folder{dir: f.dirs[0]}
	live, err := folder.open(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for range directory.MaxPast + 3 {
		n := f.change(directory.Change{})
		if err := errors.Join(folder.store(n), live.Adopt(n), folder.keep(live)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := folder.copies()
	if err != nil || len(names) != 1+directory.MaxPast {
		t.Fatalf("%d copies, %v", len(names), err)
	}
	if err := os.WriteFile(filepath.Join(f.dirs[0], directoriesDir, ".9.json.123"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	newest := f.change(directory.Change{})
	if err := os.WriteFile(filepath.Join(f.dirs[0], directoriesDir, copyName(newest.Document.Serial)), f.encode(newest), 0o600); err != nil {
		t.Fatal(err)
	}
	if live, err = folder.open(time.Now); err != nil || live.Current().Serial() != newest.Document.Serial {
		t.Fatalf("opened %v", err)
	}
	if got := storedSerial(t, f.dirs[0]); got != newest.Document.Serial {
		t.Errorf("network.json has serial %d", got)
	}
}

// TestOperatorsNewerFileStays: a newer file that is put into the folder while the
// node writes an older directory there is neither overwritten nor overlooked.
func TestOperatorsNewerFileStays(t *testing.T) {
	f := newFleet(t, 1)
	folder := &folder{dir: f.dirs[0]}
	if _, err := folder.open(time.Now); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.dirs[0], networkFile)
	if err := exchange(path, path); err != nil {
		t.Skip("files cannot change places here")
	}
	heard, given := f.change(directory.Change{}), f.change(directory.Change{})
	next, err := writeBeside(path, f.encode(heard)) // as store does, once it has looked
	if err != nil {
		t.Fatal(err)
	}
	f.give(f.dirs[0], given)
	if err := folder.place(next, heard.Document.Serial); err != nil {
		t.Fatal(err)
	}
	if got := storedSerial(t, f.dirs[0]); got != given.Document.Serial {
		t.Errorf("network.json has serial %d, and the operator put %d there", got, given.Document.Serial)
	}
	if n, err := folder.changed(); err != nil || n == nil || n.Document.Serial != given.Document.Serial {
		t.Errorf("the operator's file is overlooked: %v, %v", n, err)
	}
	// One that nobody put there is placed, and is no news to the node itself.
	last := f.change(directory.Change{})
	if err := folder.store(last); err != nil {
		t.Fatal(err)
	}
	if n, err := folder.changed(); err != nil || n != nil || storedSerial(t, f.dirs[0]) != last.Document.Serial {
		t.Errorf("the node's own file: %v, %v", n, err)
	}
	if left, err := filepath.Glob(filepath.Join(f.dirs[0], ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestAnswerIsTakenInOrder ends a node, as a crash would, after each document of
// an answer: it has all that came before the newest that it has.
func TestAnswerIsTakenInOrder(t *testing.T) {
	f := newFleet(t, 1)
	given := f.encode(f.network)
	var line []*directory.Network
	for range 4 {
		line = append(line, f.change(directory.Change{}))
	}
	answer := func(ns ...*directory.Network) *bytes.Buffer {
		var b bytes.Buffer
		for _, n := range ns {
			d, err := n.Directory()
			if err == nil {
				err = wire.WriteFrame(&b, d.Signed())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return &b
	}
	for end := range len(line) + 1 {
		if err := errors.Join(os.RemoveAll(filepath.Join(f.dirs[0], directoriesDir)), os.WriteFile(filepath.Join(f.dirs[0], networkFile), given, 0o600)); err != nil {
			t.Fatal(err)
		}
		folder := &folder{dir: f.dirs[0]}
		live, err := folder.open(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		fl, err := newFollower(live, folder, f.made[0].Node.ID, serviceDialer{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if err := fl.takeAll(answer(line[:end]...), len(line)); end < len(line) && err == nil {
			t.Error("an answer that broke off was taken for a whole one")
		}
		if live, err = folder.open(time.Now); err != nil {
			t.Fatal(err)
		}
		if got := live.Current().Serial(); got != uint64(end) || len(live.Past()) != end {
			t.Errorf("after %d documents: serial %d and %d past ones", end, got, len(live.Past()))
		}
		if end == 0 {
			if err := fl.takeAll(answer(line[3], line[1]), 2); !errors.Is(err, directory.ErrInvalid) {
				t.Errorf("the newest first: %v", err)
			}
		}
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": {}, "cut": {directory.Version}, "longer": {directory.Version, 1, 0}, "version": {2, 1}, "too many": {directory.Version, 2 + directory.MaxPast},
	} {
		if _, err := parseAnswer(b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if n, err := parseAnswer([]byte{directory.Version, 1 + directory.MaxPast}); err != nil || n != 1+directory.MaxPast {
		t.Errorf("got %d, %v", n, err)
	}
}

// safeBuffer takes log lines of several goroutines.
type safeBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{} // closed with the next line, if somebody waits for it
}

// waitFor waits until a line says something.
func (s *safeBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	limit := time.After(time.Minute) // for a machine that is very busy
	for {
		s.mu.Lock()
		said := strings.Contains(s.b.String(), text)
		if s.wrote == nil {
			s.wrote = make(chan struct{})
		}
		wrote := s.wrote
		s.mu.Unlock()
		if said {
			return
		}
		select {
		case <-wrote:
		case <-limit:
			t.Fatalf("nothing says %q", text)
		}
	}
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrote != nil {
		close(s.wrote)
		s.wrote = nil
	}
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
