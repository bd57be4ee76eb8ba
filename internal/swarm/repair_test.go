package swarm

import (
	"context"
	"errors"
	"io"
	"math"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// read returns a file's bytes.
func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return must(io.ReadAll(f))
}

// rot flips a bit of every table file of a store, and reports how many.
func rot(t *testing.T, fs vfs.FS, dir string) (files int) {
	t.Helper()
	for _, name := range must(fs.List(dir)) {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		file := path.Join(dir, name)
		b := read(t, fs, file)
		b[len(b)/3] ^= 1
		f := must(fs.Create(file, vfs.WriteCategoryUnspecified))
		_, err := f.Write(b)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		files++
	}
	return files
}

// fill puts envelopes and lets one of them expire, so that a purge writes what
// stays into table files.
func fill(t *testing.T, w *world) (*box, []mailbox.Digest) {
	t.Helper()
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	var sent []mailbox.Digest
	for range 20 {
		sent = append(sent, c.send(b, randomEnvelope(4096)))
	}
	if err := c.delete(b, b.owner, sent[0]); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		for _, d := range sent[1:] {
			eventually(t, "every member to have it", func() bool { return n.has(b, d) })
		}
		eventually(t, "the tombstone", func() bool { return !n.has(b, sent[0]) })
	}
	return b, sent
}

// TestRottenStoreIsFilledByTheSwarm spoils a member's files while it is away,
// repairs what is left, and expects the other members to bring back the rest.
func TestRottenStoreIsFilledByTheSwarm(t *testing.T) {
	w := newWorld(t, 3)
	b, sent := fill(t, w)
	n := w.nodes[2]
	if err := n.swarm.Expire(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.stop()
	if rot(t, n.fs, n.dir) == 0 {
		t.Fatal("no table file to spoil")
	}
	r, err := store.Verify(context.Background(), n.dir, store.Options{FS: n.fs}, nil)
	if err == nil && r.Sound() {
		t.Fatal("a spoilt store counts as sound")
	}
	if err := store.Repair(context.Background(), n.dir, store.Options{FS: n.fs}); err != nil {
		t.Fatal(err)
	}
	n.start()
	for _, d := range sent[1:] {
		eventually(t, "the swarm to bring it back", func() bool { return n.has(b, d) })
	}
	c := w.client(n)
	batch, err := c.fetch(b, mailbox.Cursor{}, b.owner)
	if err != nil || len(batch.Items) != len(sent)-1 {
		t.Errorf("%d envelopes served, want %d: %v", len(batch.Items), len(sent)-1, err)
	}
}

// TestRepairedMemberIsNoWitness: a member whose store was repaired counts for
// nothing until it has got what a majority has, however often it is started.
func TestRepairedMemberIsNoWitness(t *testing.T) {
	w := newWorld(t, 3)
	b, sent := fill(t, w)
	n := w.nodes[2]
	eventually(t, "a member to be whole", func() bool { return n.swarm.Moving().Whole })
	n.stop()
	if err := store.Repair(context.Background(), n.dir, store.Options{FS: n.fs}); err != nil {
		t.Fatal(err)
	}
	w.nodes[0].stop()
	w.nodes[1].stop()
	for range 2 {
		n.start()
		if n.swarm.Moving().Whole {
			t.Fatal("a repaired member takes itself for whole")
		}
		if st := n.swarm.moves.state(n.swarm.view()); st.floor != math.MaxUint64 || len(st.whole) != 0 {
			t.Errorf("it says of itself %+v", st)
		}
		n.stop()
	}
	n.start()
	w.nodes[0].start()
	eventually(t, "one part to be got", func() bool { return n.swarm.Moving().Ungot == 1 })
	if n.swarm.Moving().Whole {
		t.Error("one other is no majority")
	}
	w.nodes[1].start()
	eventually(t, "the repaired member to be whole", func() bool { return n.swarm.Moving().Whole })
	for _, d := range sent[1:] {
		if !n.has(b, d) {
			t.Error("a member is whole and lacks an envelope")
		}
	}
	n.stop()
	w.nodes[0].stop()
	w.nodes[1].stop()
	n.start()
	if st := n.swarm.moves.state(n.swarm.view()); !n.swarm.Moving().Whole || st.floor == math.MaxUint64 {
		t.Errorf("after another start it says of itself %+v", st)
	}
}

// rotFS spoils what is read of a store's tables from rot on, until the store is
// put aside.
type rotFS struct {
	vfs.FS
	mu      sync.Mutex // guards all below
	rotting bool
	files   []*rotFile
}

type rotFile struct {
	vfs.File
	rot atomic.Bool
}

func (f *rotFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, ".sst") {
		return file, err
	}
	x := &rotFile{File: file}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = append(f.files, x)
	x.rot.Store(f.rotting && !strings.Contains(name, ".new"))
	return x, nil
}

func (f *rotFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasSuffix(to, store.SuffixDamaged) {
		f.rotting = false
	}
	return f.FS.Rename(from, to)
}

func (f *rotFS) Unwrap() vfs.FS { return f.FS }

func (f *rotFS) rot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rotting = true
	for _, x := range f.files {
		x.rot.Store(true)
	}
}

func (x *rotFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := x.File.ReadAt(p, off)
	if n > 0 && x.rot.Load() {
		p[n/2] ^= 1
	}
	return n, err
}

// TestRepairCountsBeforeAnybodyIsTold: from the first answer of a repaired store
// on, the member counts for nothing, though nothing of it has run since.
func TestRepairCountsBeforeAnybodyIsTold(t *testing.T) {
	w := newWorld(t, 3)
	b, _ := fill(t, w)
	n := w.nodes[2]
	eventually(t, "a member to be whole", func() bool { return n.swarm.Moving().Whole })
	if err := n.swarm.Expire(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.stop()
	disk := &rotFS{FS: n.fs}
	n.fs = disk
	n.make() // and nothing runs
	s, v := n.swarm, n.swarm.view()
	defer func() {
		if err := errors.Join(s.Close(), n.store.Close()); err != nil {
			t.Error(err)
		}
		n.mu.Lock()
		n.up = false
		n.mu.Unlock()
	}()
	for _, p := range v.peers {
		p.compared.Store(1)
	}
	if !s.moves.complete(v) || !errors.Is(v.notOpen(), mailbox.ErrNotOpen) {
		t.Fatal("it does not count before the damage")
	}
	disk.rot()
	if _, err := n.store.Fetch(b.Address(), 0, 0, 100, 1<<20); err == nil {
		t.Fatal("the damage was not noticed")
	}
	eventually(t, "a repair", func() bool { return n.store.Losses() > 0 })
	if s.moves.complete(v) || !s.moves.lacking() || s.Moving().Whole {
		t.Error("it takes itself for whole")
	}
	if st := s.moves.state(v); st.floor != math.MaxUint64 || len(st.whole) != 0 {
		t.Errorf("it says of itself %+v", st)
	}
	if err := v.notOpen(); !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("a mailbox that it may have lost: %v", err)
	}
}

// TestOldCopyIsNoWitness puts an older copy of a member's store in the place of
// the present one: its marks say that it was whole, and it is not.
func TestOldCopyIsNoWitness(t *testing.T) {
	w := newWorld(t, 3)
	b, sent := fill(t, w)
	n := w.nodes[2]
	eventually(t, "a member to be whole", func() bool { return n.swarm.Moving().Whole })
	n.stop()
	copied := vfs.NewMem()
	if ok, err := vfs.Clone(n.fs, copied, n.dir, n.dir); err != nil || !ok {
		t.Fatal(err)
	}
	n.start()
	late := w.client(n).send(b, randomEnvelope(4096))
	eventually(t, "what the copy lacks", func() bool { return n.has(b, late) && w.nodes[0].has(b, late) && w.nodes[1].has(b, late) })
	n.stop()
	if err := n.fs.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(copied, n.fs, n.dir, n.dir); err != nil || !ok {
		t.Fatal(err)
	}
	w.nodes[0].stop()
	w.nodes[1].stop()
	for range 2 {
		n.start()
		if st := n.swarm.moves.state(n.swarm.view()); st.floor != math.MaxUint64 || len(st.whole) != 0 || n.swarm.Moving().Whole {
			t.Errorf("it says of itself %+v", st)
		}
		n.stop()
	}
	n.start()
	w.nodes[0].start()
	w.nodes[1].start()
	eventually(t, "the member to be whole again", func() bool { return n.swarm.Moving().Whole })
	for _, d := range append(sent[1:], late) {
		if !n.has(b, d) {
			t.Error("a member is whole and lacks an envelope")
		}
	}
}

// TestLossCountsAtOnce: a member that is repaired while it runs asks the others
// anew, and what it had got before does not count.
func TestLossCountsAtOnce(t *testing.T) {
	w := newWorld(t, 3)
	n := w.nodes[2]
	eventually(t, "a member to be whole", func() bool { return n.swarm.Moving().Whole })
	w.nodes[0].stop()
	w.nodes[1].stop()
	m, v := n.swarm.moves, n.swarm.view()
	m.lose()
	for _, p := range v.peers {
		if err := m.settle(context.Background(), v, p.id, keeperState{whole: []uint64{v.dir.Serial()}}, m.losses-1); err != nil {
			t.Fatal(err)
		}
	}
	if n.swarm.Moving().Whole || m.complete(v) {
		t.Error("what was got before a loss counts")
	}
	w.nodes[0].start()
	w.nodes[1].start()
	eventually(t, "the member to be whole again", func() bool { return n.swarm.Moving().Whole })
}

// TestOldCopyOfAStore puts an older copy of a member's store in the place of the
// present one: what was deleted since stays deleted everywhere, and a cursor of
// before skips nothing that comes after.
func TestOldCopyOfAStore(t *testing.T) {
	w := newWorld(t, 3)
	b, sent := fill(t, w)
	n := w.nodes[2]
	n.stop()
	copied := vfs.NewMem()
	if ok, err := vfs.Clone(n.fs, copied, n.dir, n.dir); err != nil || !ok {
		t.Fatal(err)
	}
	n.start()
	c := w.client(n)
	late := c.send(b, randomEnvelope(4096))
	eventually(t, "the last before the copy comes back", func() bool { return n.has(b, late) })
	batch, err := c.fetch(b, mailbox.Cursor{}, b.owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client(w.nodes[0]).delete(b, b.owner, sent[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion", func() bool { return !n.has(b, sent[1]) })
	n.stop()
	n.fs = copied
	n.start()
	eventually(t, "the deletion to win over the old copy", func() bool { return !n.has(b, sent[1]) && n.has(b, late) })
	for _, other := range w.nodes {
		for _, p := range other.swarm.view().peers {
			eventually(t, "a round with every member", func() bool { return p.reconcile(context.Background(), false) == nil })
		}
		if other.has(b, sent[0]) || other.has(b, sent[1]) {
			t.Error("an old copy brought back what was deleted")
		}
	}
	after := w.client(n).send(b, randomEnvelope(4096))
	eventually(t, "the next", func() bool { return n.has(b, after) })
	next, err := w.client(n).fetch(b, batch.Next, b.owner)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, it := range next.Items {
		found = found || it.Digest == after
	}
	if !found {
		t.Error("a cursor from before the old copy skips what came after it")
	}
}
