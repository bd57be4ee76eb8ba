package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/swarm"
	"sotto/internal/wire"
)

// How directories travel (spec/directory.md §3).
const (
	// lookEvery is how often a node looks whether its folder holds another
	// file: an operator who copies one there need not do anything else.
	lookEvery = 15 * time.Second
	// askEvery is how often, with up to a third more, a node asks another one,
	// drawn at random: whoever was away or missed the word hears of it so.
	askEvery = 2 * time.Minute
	// tellNodes is how many others a node asks when it has adopted a directory,
	// or started: by asking it shows what it has. Each of them tells as many, so
	// that the word is everywhere in seconds.
	tellNodes = 16
	// askTimeout bounds one question with its answer of 1 + MaxPast documents.
	askTimeout = 30 * time.Second
	// maxAnswering bounds the questions that a node answers at a time, and
	// maxAnsweringOne those of one other node.
	maxAnswering    = 32
	maxAnsweringOne = 2
	// questionTimeout is how long a question may take to come: until it is there
	// it takes no place, and is not worth waiting for.
	questionTimeout = 5 * time.Second
)

// follower keeps a node's directory up to date: from its folder and from other
// nodes. What it adopts is on disk first.
type follower struct {
	live   *directory.Live
	folder *folder
	self   identity.NodeID
	dialer swarm.PeerDialer
	log    *slog.Logger

	reload    chan struct{}
	ahead     chan identity.NodeID // nodes that asked and have more
	answering answering

	// adopting is held from the check of a directory until it is adopted.
	adopting sync.Mutex
	forks    prometheus.Counter
	proofs   prometheus.Gauge
}

func newFollower(live *directory.Live, folder *folder, self identity.NodeID, dialer swarm.PeerDialer, log *slog.Logger, registry prometheus.Registerer) (*follower, error) {
	f := &follower{
		live: live, folder: folder, self: self, dialer: dialer, log: log,
		reload: make(chan struct{}, 1),
		ahead:  make(chan identity.NodeID, 1),
		forks:  prometheus.NewCounter(prometheus.CounterOpts{Name: "sotto_directory_forks_total", Help: "Directories refused because another one has their serial."}),
		proofs: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sotto_directory_forks", Help: "Proofs of such directories in the node's folder."}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		f.forks, f.proofs,
		gauge("sotto_directory_serial", "Serial of the directory in use.", func() float64 { return float64(live.Current().Serial()) }),
		gauge("sotto_directory_nodes", "Nodes of the directory in use.", func() float64 { return float64(live.Current().Len()) }),
		gauge("sotto_directory_listed", "1 if the directory in use lists this node.", func() float64 {
			if _, ok := live.Current().Node(self); ok {
				return 1
			}
			return 0
		}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("node: %w", err)
		}
	}
	return f, f.countProofs()
}

func (f *follower) countProofs() error {
	n, err := f.folder.forks()
	if err == nil {
		f.proofs.Set(float64(n))
	}
	return err
}

// watch takes a newer file from the folder, until ctx ends.
func (f *follower) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-f.reload:
		case <-ctx.Done():
			return
		}
		n, err := f.folder.changed()
		if err == nil && n != nil {
			err = f.adopt(n)
		}
		if err != nil && !errors.Is(err, directory.ErrNotNewer) {
			f.log.Error("the folder's directory is not taken", "file", networkFile, "error", err)
		}
	}
}

// gossip asks other nodes until ctx ends: many at the start and after each
// change, and now and then one.
func (f *follower) gossip(ctx context.Context) {
	changed := f.live.Changed()
	f.askSome(ctx, tellNodes)
	now := time.NewTimer(askEvery + rand.N(askEvery/3))
	defer now.Stop()
	vain := make(map[identity.NodeID]time.Time) // when nodes that claimed to have more gave nothing
	for {
		select {
		case <-changed:
			changed = f.live.Changed()
			f.askSome(ctx, tellNodes)
		case id := <-f.ahead:
			f.askClaimant(ctx, id, vain)
		case <-now.C:
			f.askSome(ctx, 1)
			now.Reset(askEvery + rand.N(askEvery/3))
		case <-ctx.Done():
			return
		}
	}
}

// askClaimant asks a node that seems to have more. One that then gives nothing is
// not asked for its claims again before everybody has his turn by the clock.
func (f *follower) askClaimant(ctx context.Context, id identity.NodeID, vain map[identity.NodeID]time.Time) {
	for other, at := range vain { // as many as nodes at most
		if time.Since(at) >= askEvery {
			delete(vain, other)
		}
	}
	if _, ok := vain[id]; ok {
		return
	}
	before := directory.AskingOf(f.live).Encode()
	f.ask(ctx, id)
	if bytes.Equal(before, directory.AskingOf(f.live).Encode()) {
		vain[id] = time.Now()
	}
}

// askSome asks up to n nodes drawn at random, all at a time: of this directory
// and of the last one, whose nodes may not have heard of this.
func (f *follower) askSome(ctx context.Context, n int) {
	known := make(map[identity.NodeID]bool)
	var ids []identity.NodeID
	for _, d := range append([]*directory.Directory{f.live.Current()}, f.live.Past()...) {
		for _, node := range d.Nodes() {
			if node.ID != f.self && !known[node.ID] {
				known[node.ID] = true
				ids = append(ids, node.ID)
			}
		}
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	var asked sync.WaitGroup
	defer asked.Wait()
	for _, id := range ids[:min(n, len(ids))] {
		asked.Go(func() { f.ask(ctx, id) })
	}
}

// ask asks one node and takes what it sends.
func (f *follower) ask(ctx context.Context, id identity.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := f.exchange(ctx, id); err != nil && ctx.Err() == nil {
		f.log.Debug("asking for a directory", "node", id.String(), "error", err)
	}
}

func (f *follower) exchange(ctx context.Context, id identity.NodeID) error {
	rwc, err := f.dialer.OpenStream(ctx, id)
	if err != nil {
		return err
	}
	defer cut(rwc)
	stop := context.AfterFunc(ctx, func() { cut(rwc) })
	defer stop()
	ask := wire.AppendVec32([]byte{swarm.StreamDirectory}, directory.AskingOf(f.live).Encode())
	if _, err := rwc.Write(ask); err != nil {
		return err
	}
	head, err := wire.ReadFrame(rwc, answerSize)
	if err != nil {
		return err
	}
	count, err := parseAnswer(head)
	if err != nil {
		return err
	}
	return f.takeAll(rwc, count)
}

// takeAll takes the documents of an answer, one as it comes. They must come
// oldest first: each is on disk before the next is adopted, so that whenever the
// node ends, it knows who kept its mailboxes before the newest that it has.
func (f *follower) takeAll(r io.Reader, count int) error {
	var last uint64
	for i := range count {
		b, err := wire.ReadFrame(r, directory.MaxSigned)
		if err != nil {
			return err
		}
		n, err := directory.ParseSigned(f.live.Current().NetworkKey(), b)
		if err != nil {
			return err
		}
		if serial := n.Document.Serial; i > 0 && serial <= last {
			return fmt.Errorf("%w: answer with serial %d behind %d", directory.ErrInvalid, serial, last)
		}
		last = n.Document.Serial
		if err := f.take(n); err != nil {
			return err
		}
	}
	return nil
}

// cut ends a stream at once, whatever is being read or written on it.
func cut(c io.Closer) {
	if a, ok := c.(interface{ Abort() }); ok {
		a.Abort()
		return
	}
	_ = c.Close() // of a stream that is of no use any more
}

// An answer's head is version and count; the documents follow, a frame each.
const answerSize = 2

func parseAnswer(b []byte) (count int, err error) {
	r := wire.NewReader(b)
	version := r.Uint8()
	count = int(r.Uint8())
	if err := r.Finish(); err != nil {
		return 0, err
	}
	if version != directory.Version {
		return 0, fmt.Errorf("%w %d of an answer", directory.ErrVersion, version)
	}
	if count > 1+directory.MaxPast {
		return 0, fmt.Errorf("%w: answer of %d documents", directory.ErrInvalid, count)
	}
	return count, nil
}

// serve answers another node's question, which has to come soon and to be read
// before it takes one of the places of those that are answered.
func (f *follower) serve(from identity.NodeID, rwc io.ReadWriteCloser) error {
	timer := time.AfterFunc(questionTimeout, func() { cut(rwc) })
	defer timer.Stop()
	b, err := wire.ReadFrame(rwc, directory.MaxAsking)
	if err != nil {
		return err
	}
	asking, err := directory.ParseAsking(b)
	if err != nil {
		return err
	}
	if !f.answering.begin(from) {
		return swarm.ErrTooMany
	}
	defer f.answering.end(from)
	timer.Reset(askTimeout)
	send := asking.Lacks(f.live)
	if err := wire.WriteFrame(rwc, []byte{directory.Version, byte(len(send))}); err != nil {
		return err
	}
	for _, d := range send {
		if err := wire.WriteFrame(rwc, d.Signed()); err != nil {
			return err
		}
	}
	if asking.Ahead(f.live) {
		select {
		case f.ahead <- from:
		default: // another one that is ahead is about to be asked
		}
	}
	return nil
}

// take adopts a directory that is newer, and remembers one that is not.
func (f *follower) take(n *directory.Network) error {
	if n.Document.Serial > f.live.Current().Serial() {
		if err := f.adopt(n); !errors.Is(err, directory.ErrNotNewer) {
			return err
		}
	}
	f.adopting.Lock()
	defer f.adopting.Unlock()
	if err := f.noteFork(f.live.Remember(n)); err != nil {
		return err
	}
	return f.folder.keep(f.live)
}

// adopt stores a newer directory, and uses it from then on.
func (f *follower) adopt(n *directory.Network) error {
	f.adopting.Lock()
	defer f.adopting.Unlock()
	if err := f.noteFork(f.live.Check(n)); err != nil {
		return err
	}
	if err := f.folder.store(n); err != nil {
		return err
	}
	if err := f.live.Adopt(n); err != nil {
		return err
	}
	d := f.live.Current()
	f.log.Info("directory adopted", "serial", d.Serial(), "nodes", d.Len())
	f.sayListed()
	return f.folder.keep(f.live)
}

// noteFork says loudly that somebody is shown a network of their own, and keeps
// the proof.
func (f *follower) noteFork(err error) error {
	var fork *directory.Fork
	if !errors.As(err, &fork) {
		return err
	}
	f.forks.Inc()
	f.log.Error("the network's key has signed two different directories with one serial; the one in use stays", "error", err, "proof", forksDir)
	return errors.Join(err, f.folder.keepFork(fork), f.countProofs())
}

// sayListed tells the operator of a node that has left, and of one whose
// address is another now.
func (f *follower) sayListed() {
	d := f.live.Current()
	now, listed := d.Node(f.self)
	if !listed {
		f.log.Warn("this node is not listed any more: it hands over what it keeps, and can be stopped then",
			"serial", d.Serial(), "at_the_latest", d.Issued().Add(directory.PastFor).Format(time.RFC3339))
		return
	}
	if past := f.live.Past(); len(past) > 0 {
		if was, ok := past[0].Node(f.self); ok && was.Addr != now.Addr {
			f.log.Warn("this node's address has changed in the directory: start it again to listen there", "address", now.Addr.String())
		}
	}
}
