package swarm

import (
	"context"
	"errors"
	"io"
	"math"
	"path"
	"strings"
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
