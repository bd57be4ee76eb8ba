package swarm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/directory"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// TestOldKeepersAwayMeansBusy asks a new member when too few of the past keepers
// can be asked: it must not say that there is nothing.
func TestOldKeepersAwayMeansBusy(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(1, 1)
	w.replace(w.nodes...)
	w.tell(w.nodes[0], w.nodes[1]) // the others have not heard of it
	for _, n := range w.nodes[5:] {
		n.join()
	}
	b := letters[0].b
	if _, err := w.client(w.nodes[7]).fetch(b, mailbox.Cursor{}, b.owner); !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("with two of five past keepers: %v", err)
	}
	// Those that have not heard are a majority, and go on for clients like them.
	letters = append(letters, letter{b, w.client(w.nodes[2]).mustSendUnder(b)})
	w.tell(w.nodes[2], w.nodes[3], w.nodes[4])
	w.arrive(letters)
	if batch, err := w.client(w.nodes[7]).fetch(b, mailbox.Cursor{}, b.owner); err != nil || len(batch.Items) != 2 {
		t.Errorf("%v, %v", batch, err)
	}
}

// TestPastKeepersStayWitnesses: who has given its part keeps it until the one
// who got it is whole, since it may be needed for that by others.
func TestPastKeepersStayWitnesses(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(1, 1)
	w.replace(w.nodes...)
	w.tell(w.nodes[0], w.nodes[1]) // the others have not heard of it
	for _, n := range w.nodes[5:] {
		n.join()
	}
	for _, n := range w.nodes[5:] {
		eventually(t, "the parts of two to be got", func() bool { return n.has(letters[0].b, letters[0].d) && n.gotFrom(w.nodes[0], w.nodes[1]) })
	}
	for _, n := range w.nodes[:2] {
		if n.swarm.moves.mayDrop(n.swarm.view(), 0) {
			t.Error("it would drop what no new keeper is sure of")
		}
	}
	w.tell(w.nodes[2], w.nodes[3], w.nodes[4])
	w.arrive(letters)
}

// gotFrom reports whether a node has the parts of others.
func (n *node) gotFrom(others ...*node) bool {
	m := n.swarm.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	return !slices.ContainsFunc(others, func(o *node) bool { _, ok := m.got[o.id]; return !ok })
}

// TestDroppingOneSectionKeepsTheOthersWitness: a node that has dropped what one
// swarm got counts on for the keepers of another one, until the next directory.
func TestDroppingOneSectionKeepsTheOthersWitness(t *testing.T) {
	w := newWorld(t, 5)
	n := w.nodes[0]
	eventually(t, "a member to be whole", func() bool { return n.swarm.Moving().Whole })
	w.change(func(*directory.Document) {})
	w.tell(n)
	m, v := n.swarm.moves, n.swarm.view()
	if err := m.drop(t.Context(), v, 7); err != nil {
		t.Fatal(err)
	}
	if st := must(m.handing(v, 1, 3)); st.gone || st.floor != 0 || !slices.Contains(st.whole, 0) {
		t.Errorf("to another swarm: %+v", st)
	}
	if st := must(m.handing(v, 1, 7)); !st.gone {
		t.Error("not gone")
	}
	w.change(func(*directory.Document) {})
	w.tell(n)
	eventually(t, "the change to be begun", func() bool { return n.swarm.Moving().Serial == 2 })
	if st := m.state(n.swarm.view()); st.floor != 1 || slices.Contains(st.whole, 0) {
		t.Errorf("under the next directory: %+v", st)
	}
}

// TestHandedMarkOutlivesABegin: a keeper says that it is done while a change is
// begun, and while another past directory comes to be known.
func TestHandedMarkOutlivesABegin(t *testing.T) {
	w := newWorld(t, 5)
	n, keeper := w.nodes[0], w.nodes[1].id
	n.stop()
	n.make() // and nothing runs
	m := n.swarm.moves
	defer n.run()
	view := func() *view {
		n.swarm.members.adopt(n.live.Current(), n.live.Past())
		return n.swarm.view()
	}
	handed := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.handed[keeper]
	}
	if err := m.noteHanded(t.Context(), 0, keeper); err != nil {
		t.Fatal(err)
	}
	w.change(func(*directory.Document) {})
	if err := n.live.Adopt(w.documents[1]); err != nil {
		t.Fatal(err)
	}
	before := must(n.store.Marks())
	if err := m.begin(t.Context(), view()); err != nil || handed() {
		t.Fatalf("a mark of an earlier directory counts: %v, %v", handed(), err)
	}
	// The answer to one that was asked under the same serial comes after a view
	// of more past directories was taken, and before it was begun.
	later := view()
	if err := m.noteHanded(t.Context(), 1, keeper); err != nil {
		t.Fatal(err)
	}
	if err := n.store.SetMark(t.Context(), store.Mark{Fact: factAdopted, Serial: 1}, before...); err != nil {
		t.Fatal(err) // as a begin does that read its marks before
	}
	if err := m.begin(t.Context(), later); err != nil || !handed() {
		t.Errorf("in memory %v: %v", handed(), err)
	}
	if !slices.ContainsFunc(must(n.store.Marks()), func(x store.Mark) bool { return x.Fact == factHanded && x.Serial == 1 }) {
		t.Error("the mark is gone from the disk")
	}
}

// TestDoneIsTakenOnce: a keeper that says again and again that it is done makes
// nobody write or look through the mailboxes.
func TestDoneIsTakenOnce(t *testing.T) {
	w := newWorld(t, 5)
	n, keeper := w.nodes[0], w.nodes[1].id
	n.stop()
	n.make() // and nothing runs
	defer n.run()
	m := n.swarm.moves
	if err := m.begin(t.Context(), n.swarm.view()); err != nil {
		t.Fatal(err)
	}
	m.sections(n.swarm.view().dir)
	ps := &peerStream{s: n.swarm, p: &peer{id: keeper}}
	kicked := func() bool {
		select {
		case <-m.kick:
			return true
		default:
			return false
		}
	}
	kicked()
	for i, want := range []bool{true, false, false} {
		if _, err := ps.serveMove(t.Context(), moveQuery{serial: 0, done: true}.encode()); err != nil {
			t.Fatal(err)
		}
		if kicked() != want {
			t.Errorf("said for the %d. time: kicked %v", i+1, !want)
		}
	}
	if !m.hasHanded(0, keeper) || m.hasHanded(1, keeper) {
		t.Error("it is not known for which directory it was said")
	}
}

// mustSendUnder puts without a look at the world's newest directory.
func (c *client) mustSendUnder(b *box) mailbox.Digest {
	c.t.Helper()
	e := randomEnvelope(4096)
	if _, err := c.do(b.put(c.w, e), nil); err != nil {
		c.t.Fatal(err)
	}
	return mailbox.EnvelopeDigest(b.Address(), e)
}

// TestMovesOutliveManyChanges replaces all members, who then get nothing while
// more directories follow than used to count. They must know still whom to ask,
// and not take themselves for whole.
func TestMovesOutliveManyChanges(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(1, 2)
	w.replace(w.nodes...)
	w.tell(w.nodes[:5]...)
	var release []func()
	for _, n := range w.nodes[5:] {
		release = append(release, n.joinHeld())
	}
	for range 5 {
		w.change(func(*directory.Document) {})
		w.tell(w.nodes...)
	}
	for _, n := range w.nodes[5:] {
		if n.swarm.Moving().Whole {
			t.Error("whole without a record")
		}
	}
	b := letters[0].b
	if batch, err := w.client(w.nodes[6]).fetch(b, mailbox.Cursor{}, b.owner); err != nil || len(batch.Items) != 2 {
		t.Errorf("%v, %v", batch, err)
	}
	for _, f := range release {
		f()
	}
	w.arrive(letters)
}

// TestForgottenDirectoriesAreNotSettled has as many past directories as count,
// and not the first one: what lies with its keepers is unknown.
func TestForgottenDirectoriesAreNotSettled(t *testing.T) {
	w := newWorld(t, 5)
	for range directory.MaxPast + 1 {
		w.change(func(*directory.Document) {})
	}
	live := w.source()
	v := &view{dir: live.Current(), past: live.Past()}
	if len(v.past) != directory.MaxPast || v.deep(w.now()) {
		t.Errorf("%d past directories reach back to the first one", len(v.past))
	}
	if !v.deep(w.now().Add(directory.PastFor)) {
		t.Error("what is older has not expired")
	}
}

// TestCrashesWhileMoving cuts the power of the new member and of an old one at
// several moments of a move.
func TestCrashesWhileMoving(t *testing.T) {
	w := newWorldOn(t, 5, func(int) (vfs.FS, string) { return vfs.NewCrashableMem(), "store" })
	letters := w.fill(4, 6)
	fresh := w.replace(w.nodes[4])
	fresh.fs = vfs.NewCrashableMem()
	crash := func(n *node) {
		after := n.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
		n.stop()
		n.fs = after
		n.start()
	}
	w.tell(w.nodes[0], w.nodes[4])
	fresh.join()
	crash(fresh)
	crash(w.nodes[4]) // its Source remembers the directory
	w.tell(w.nodes[1])
	eventually(t, "something to arrive", func() bool { return fresh.store.Stats().Envelopes > 0 || fresh.swarm.Moving().Ungot < 5 })
	crash(fresh)
	w.tell(w.nodes[2], w.nodes[3])
	crash(w.nodes[0])
	w.arrive(letters)
	crash(fresh)
	crash(w.nodes[4])
	if !fresh.swarm.Moving().Whole {
		t.Error("a restart made a whole member doubt itself")
	}
	w.arrive(letters)
}

// TestLeaverSwitchedOffTooEarly: the others are whole without it, and say that
// nothing is left to be got; were it needed, they would say so.
func TestLeaverSwitchedOffTooEarly(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(2, 2)
	fresh := w.replace(w.nodes[4])
	w.nodes[4].stop()
	w.nodes[3].stop()
	w.nodes[2].stop()
	w.tell(w.nodes[0], w.nodes[1])
	fresh.join()
	eventually(t, "the parts of two to be got", func() bool { return fresh.gotFrom(w.nodes[0], w.nodes[1]) })
	if m := fresh.swarm.Moving(); m.Whole || m.Ungot != 3 {
		t.Errorf("with two of five past keepers: %+v", m)
	}
	for _, n := range w.nodes[2:4] {
		n.live = w.source()
		n.start()
	}
	for _, n := range append(w.nodes[:4:4], fresh) {
		eventually(t, "nothing to be left", func() bool { m := n.swarm.Moving(); return m.Whole && m.Ungot == 0 })
	}
	for _, l := range letters {
		eventually(t, "the letters", func() bool { return fresh.has(l.b, l.d) })
	}
	// It comes back, and hands over.
	w.nodes[4].live = w.source()
	w.nodes[4].start()
	for _, n := range append(w.nodes[:4:4], fresh) {
		n := n.swarm.moves
		signal(n.kick)
	}
	w.arrive(letters)
}

// TestSpoiltListsAreLeftOut: one keeper lists what it does not hand out, and
// answers gets with nothing that makes sense. The others are enough.
func TestSpoiltListsAreLeftOut(t *testing.T) {
	w := newWorld(t, 5)
	letters := w.fill(1, 3)
	fresh := w.replace(w.nodes[4])
	w.tell(w.nodes[:5]...)
	release := fresh.joinHeld()
	defer release()
	s, v, a := fresh.swarm, fresh.swarm.view(), letters[0].b.Address()
	liar := newPeer(s, w.nodes[0].id, true)
	ctx, cancel := context.WithCancel(t.Context())
	var answering sync.WaitGroup
	defer answering.Wait()
	defer cancel()
	answering.Go(func() {
		for {
			select {
			case c := <-liar.queue:
				switch c.op {
				case opMailbox:
					c.done(mailboxPage{state: keeperState{whole: []uint64{0}}, refs: []store.Reference{
						{Kind: store.KindGrant, Ref: [32]byte{1}}, {Kind: store.KindTombstone, Ref: [32]byte{2}}, {Kind: store.KindEnvelope, Ref: [32]byte{3}},
					}}.encode(), nil)
				default:
					c.done([]byte("nonsense"), nil)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	honest := s.peer(liar.id)
	eventually(t, "the peers to be started", func() bool { return honest.list(ctx, v, a).err == nil })
	s.members.mu.Lock()
	s.members.peers[liar.id] = liar
	s.members.mu.Unlock()
	defer func() {
		s.members.mu.Lock()
		s.members.peers[liar.id] = honest
		s.members.mu.Unlock()
	}()
	// The liar's list is among those that seem enough, so that it must be left out.
	from := []listing{liar.list(ctx, v, a)}
	for _, p := range v.peers {
		if p.id != liar.id {
			eventually(t, "the others to answer", func() bool {
				l := p.list(ctx, v, a)
				if l.err == nil {
					from = append(from, l)
				}
				return l.err == nil
			})
		}
	}
	left, err := s.takeAll(ctx, v, a, from)
	if err != nil || len(left) != len(from)-1 || slices.ContainsFunc(left, func(l listing) bool { return l.p == liar }) {
		t.Fatalf("%d of %d lists are left, %v", len(left), len(from), err)
	}
	if err := s.gather(ctx, v, a); err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		if !fresh.has(l.b, l.d) {
			t.Error("a letter is missing")
		}
	}
}

// TestHostilePastKeeper gives junk in place of records.
func TestHostilePastKeeper(t *testing.T) {
	w := newWorld(t, 5)
	b := newBox(w)
	w.client(w.nodes[0]).open(b, 1<<20)
	p := newPeer(w.nodes[0].swarm, w.nodes[1].id, true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	mine := newBox(w)
	forged := mine.put(w, randomEnvelope(4096))
	forged.Locator = b.Locator
	go func() {
		defer close(done)
		for {
			select {
			case c := <-p.queue:
				switch c.op {
				case opMailbox:
					c.done(mailboxPage{refs: []store.Reference{
						{Kind: store.KindEnvelope, Ref: mailbox.EnvelopeDigest(b.Address(), forged.Envelope)},
						{Kind: store.KindTombstone, Ref: [32]byte{1}},
						{Kind: 9},
					}}.encode(), nil)
				default:
					c.done(encodeRecords([][]byte{mailbox.EncodeRequest(forged)}), nil)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	v := w.nodes[0].swarm.view()
	l := p.list(ctx, v, b.Address())
	if l.err != nil || len(l.refs) != 3 {
		t.Fatalf("%+v", l)
	}
	for _, kind := range []store.Kind{store.KindGrant, store.KindTombstone, store.KindEnvelope} {
		if err := p.fetchRefs(ctx, v, b.Address(), l.refs, kind); err != nil {
			t.Error(err)
		}
	}
	cancel()
	<-done
	if got := w.nodes[0].store.Stats(); got.Envelopes != 0 {
		t.Errorf("%d forged envelopes", got.Envelopes)
	}
}
