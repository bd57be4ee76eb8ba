package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// Facts of the store's marks (spec/swarm.md §4.4).
const (
	factAdopted uint8 = 1 // of nobody: the directory is in use here, since when
	factWhole   uint8 = 2 // of a serial: this node was whole under it
	factHanded  uint8 = 3 // of a node: it has all that we had for it
	factDropped uint8 = 4 // of a swarm: what belongs to it was handed over and dropped
	factFloor   uint8 = 5 // of nobody: the first serial since which nothing was dropped here
)

// Moving says how far a change of membership has come, and names no mailbox.
type Moving struct {
	Serial uint64 // of the directory in use
	Member bool   // it lists this node
	// Whole: everything that was acknowledged under earlier directories, at
	// addresses that this node keeps now, is here.
	Whole bool
	// Lacking: the store lost something, which did not come back yet.
	Lacking bool
	// Ungot counts the nodes that kept such addresses and were not asked yet, but
	// not those that cannot be reached once this node is whole without them.
	Ungot int
	// Mailboxes and Bytes lie here for others, who have not got them all yet.
	// They are known once Counted is set.
	Mailboxes, Bytes uint64
	Counted          bool
}

// moves gets what a new directory gives this node to keep, and hands over what
// it takes away (spec/swarm.md §5.10).
type moves struct {
	s    *Swarm
	kick chan struct{} // something changed: run looks again

	// mu guards all below.
	mu      sync.Mutex
	view    *view                // that it works for
	sorted  *directory.Directory // that the store's sections are of
	lineage lineage
	adopted time.Time
	got     known
	gone    map[identity.NodeID]bool // had dropped what is this node's when asked
	told    map[identity.NodeID]bool // that this node needs nothing of theirs any more
	away    map[identity.NodeID]bool // could not be reached when last asked
	whole   []uint64                 // serials under which this node was whole
	floor   uint64                   // the first serial since which nothing was dropped here
	lost    bool                     // the store lost something that did not come back yet
	losses  uint64                   // of the store, which all above takes into account
	handed  map[identity.NodeID]bool
	dropped map[directory.SwarmID]bool
	left    store.Load // for others
	counted bool       // left is known
}

func newMoves(s *Swarm) *moves { return &moves{s: s, kick: make(chan struct{}, 1)} }

func ofSerial(serial uint64) (b [32]byte) {
	binary.BigEndian.PutUint64(b[:], serial)
	return b
}

func ofSwarm(id directory.SwarmID) (b [32]byte) {
	binary.BigEndian.PutUint16(b[:], uint16(id))
	return b
}

// begin works for a view from now on. Marks of another serial are taken away,
// but for those that say under which directories this node was whole.
func (m *moves) begin(ctx context.Context, v *view) error {
	losses := m.s.cfg.Store.Losses()
	marks, err := m.s.cfg.Store.Marks()
	if err != nil {
		return err
	}
	serial, now := v.dir.Serial(), m.s.cfg.Now()
	var stale []store.Mark
	fresh, floor := true, serial // an empty store has lost whatever there was
	var since uint64             // what was dropped under an earlier directory
	m.mu.Lock()
	if m.view == nil || m.view.dir.Serial() != serial { // else some were noted since the marks were read
		m.handed, m.dropped = make(map[identity.NodeID]bool), make(map[directory.SwarmID]bool)
	}
	m.view, m.adopted, m.lineage = v, now, v.lineage(m.s.self)
	m.got, m.whole, m.lost, m.counted = make(known), nil, false, false
	m.gone, m.told, m.away = make(map[identity.NodeID]bool), make(map[identity.NodeID]bool), make(map[identity.NodeID]bool)
	for _, x := range marks {
		m.lost = m.lost || x.Fact == store.FactSalvaged
		if x.Fact == factDropped && x.Serial != serial {
			since = max(since, x.Serial)
		}
	}
	for _, x := range marks {
		switch {
		case x.Fact == store.FactSalvaged:
		case x.Fact == factFloor:
			floor = x.Serial
		case x.Fact == factWhole && m.lost: // taken away when it is found again
		case x.Fact == factWhole && x.Serial >= since && v.matters(x.Serial):
			m.whole = append(m.whole, x.Serial)
		case x.Serial != serial || x.Fact == factWhole:
			stale = append(stale, x)
		case x.Fact == factAdopted:
			m.adopted, fresh = time.Unix(int64(x.Time), 0), false
		case x.Fact == factHanded:
			m.handed[x.Of] = true
		case x.Fact == factDropped:
			m.dropped[directory.SwarmID(binary.BigEndian.Uint16(x.Of[:2]))] = true
		}
	}
	floor = max(floor, since)
	m.floor, m.losses = floor, losses
	state := m.stateLocked()
	m.mu.Unlock()
	st := m.s.cfg.Store
	if fresh {
		err = errors.Join(
			st.SetMark(ctx, m.markNow(factFloor, [32]byte{}, floor)),
			st.SetMark(ctx, m.markNow(factAdopted, [32]byte{}, serial), stale...),
		)
	}
	if err == nil {
		err = m.settle(ctx, v, m.s.self, state, losses)
	}
	if err == nil && m.s.cfg.Store.Losses() != losses {
		err = store.ErrAway // these marks are of before
	}
	if err != nil {
		return err
	}
	signal(m.kick)
	return nil
}

func (m *moves) markNow(fact uint8, of [32]byte, serial uint64) store.Mark {
	return store.Mark{Fact: fact, Of: of, Serial: serial, Time: m.s.unixNow()}
}

// matters reports whether a serial is that of the view's directory, or of a past
// one that matters.
func (v *view) matters(serial uint64) bool {
	return v.dir.Serial() == serial || slices.ContainsFunc(v.past, func(d *directory.Directory) bool { return d.Serial() == serial })
}

// complete reports whether this node has what was kept at its addresses before
// the view's directory.
func (m *moves) complete(v *view) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view == v && !m.lostLocked() && slices.Contains(m.whole, v.dir.Serial())
}

// settle notes that a node's part is here, this node's own at the begin, and
// whether that makes everything.
//
// What was got before the store lost something, for the losses-th time, does not count.
func (m *moves) settle(ctx context.Context, v *view, id identity.NodeID, state keeperState, losses uint64) error {
	serial := v.dir.Serial()
	m.mu.Lock()
	if m.view != v || m.losses != losses || m.s.cfg.Store.Losses() != losses {
		m.mu.Unlock()
		return nil
	}
	m.got[id] = state
	lost := m.lost
	settled := m.lineage.settled(m.got, v.deep(m.s.cfg.Now())) && (!lost || m.lineage.levels[0].found(m.got))
	done := slices.Contains(m.whole, serial) || !v.member || !settled
	m.mu.Unlock()
	if done {
		return nil
	}
	if err := m.s.cfg.Store.SetMarkSince(ctx, losses, m.markNow(factWhole, ofSerial(serial), serial)); err != nil {
		return err
	}
	if lost {
		if err := m.forgetLoss(ctx, serial, losses); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v || m.losses != losses {
		return nil
	}
	m.whole = append(m.whole, serial)
	if lost {
		m.lost, m.floor = false, serial
		m.s.cfg.Logger.Info("what the store had lost is here again")
	}
	if len(v.past) > 0 {
		m.s.cfg.Logger.Info("all mailboxes of this node's swarm are here", "serial", serial)
	}
	return nil
}

// lose notes that the store lost something, and which is on disk already
// (store.FactSalvaged): this node counts for nothing until it has got it again.
func (m *moves) lose() {
	m.mu.Lock()
	m.lost, m.whole = true, nil
	m.losses = m.s.cfg.Store.Losses()
	m.got = known{m.s.self: m.stateLocked()}
	m.told = make(map[identity.NodeID]bool)
	m.mu.Unlock()
	signal(m.kick)
}

// lostLocked reports that the store lacks what it lost: also when nobody but the
// store has noted it yet.
func (m *moves) lostLocked() bool { return m.lost || m.losses != m.s.cfg.Store.Losses() }

// forgetLoss takes the mark of a loss away, and says from when on this node
// counts again. What it was before the loss it is no longer.
func (m *moves) forgetLoss(ctx context.Context, serial, losses uint64) error {
	marks, err := m.s.cfg.Store.Marks()
	if err != nil {
		return err
	}
	stale := slices.DeleteFunc(marks, func(x store.Mark) bool {
		return x.Fact != store.FactSalvaged && (x.Fact != factWhole || x.Serial == serial)
	})
	return m.s.cfg.Store.SetMarkSince(ctx, losses, m.markNow(factFloor, [32]byte{}, serial), stale...)
}

// stateLocked is what this node says of itself. While it lacks what it lost it
// is below the floor everywhere.
func (m *moves) stateLocked() keeperState {
	if m.lostLocked() {
		return keeperState{floor: math.MaxUint64}
	}
	return keeperState{floor: m.floor, whole: slices.Clone(m.whole)}
}

// lacking reports whether this node lacks what its store lost.
func (m *moves) lacking() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lostLocked()
}

// Moving returns how far the last change of membership has come.
func (s *Swarm) Moving() Moving {
	m := s.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == nil {
		return Moving{}
	}
	x := Moving{
		Serial: m.view.dir.Serial(), Member: m.view.member, Whole: !m.lostLocked() && slices.Contains(m.whole, m.view.dir.Serial()), Lacking: m.lostLocked(),
		Mailboxes: m.left.Mailboxes, Bytes: m.left.Bytes, Counted: m.counted,
	}
	for _, id := range append(m.ungotLocked(), m.untoldLocked()...) {
		if !x.Whole || !m.away[id] {
			x.Ungot++
		}
	}
	return x
}

// ungotLocked lists the nodes that are yet to be asked: all that kept this
// node's addresses and do so no longer, since they wait to be rid of them; and
// its fellows, until it is whole.
func (m *moves) ungotLocked() (ids []identity.NodeID) {
	if !m.view.member {
		return nil
	}
	whole := slices.Contains(m.whole, m.view.dir.Serial())
	for _, id := range m.lineage.nodes() {
		if _, ok := m.got[id]; !ok && !m.gone[id] && !(whole && slices.Contains(m.lineage.levels[0].sets[0], id)) {
			ids = append(ids, id)
		}
	}
	return ids
}

// untoldLocked lists the nodes that keep this node's addresses no longer and have
// not heard yet that it has their parts, and everybody's: before it is whole it
// may need them as witnesses still.
func (m *moves) untoldLocked() (ids []identity.NodeID) {
	if !m.view.member || !slices.Contains(m.whole, m.view.dir.Serial()) {
		return nil
	}
	for id := range m.got {
		if id != m.s.self && !m.told[id] && !m.gone[id] && !slices.Contains(m.lineage.levels[0].sets[0], id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// run gets and hands over until ctx ends: at once after a change, and again and
// again, ever more seldom, while something is left.
func (m *moves) run(ctx context.Context) {
	wait := moveRetryMin
	for {
		left, err := m.work(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.s.cfg.Logger.Debug("moving mailboxes failed", "error", err)
		}
		var again <-chan time.Time
		if left || err != nil {
			t := time.NewTimer(m.s.jitter(wait))
			defer t.Stop()
			again, wait = t.C, min(2*wait, moveRetryMax)
		}
		select {
		case <-m.kick:
			wait = moveRetryMin
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// work tries once what there is to do for the present view, and reports whether
// something is left.
func (m *moves) work(ctx context.Context) (left bool, err error) {
	m.mu.Lock()
	v := m.view
	m.mu.Unlock()
	if v.member {
		left, err = m.getAll(ctx, v)
		untold, tellErr := m.tellAll(ctx, v)
		left, err = left || untold, errors.Join(err, tellErr)
	}
	rest, handErr := m.handOver(ctx, v)
	return left || rest, errors.Join(err, handErr)
}

// getAll asks all of the lineage that were not got yet, one after the other, so
// that a move takes one stream's worth of this node.
func (m *moves) getAll(ctx context.Context, v *view) (left bool, err error) {
	m.mu.Lock()
	nodes := m.ungotLocked()
	m.mu.Unlock()
	for i := range nodes {
		// The keepers of a swarm begin at different ones.
		p := m.s.peer(nodes[(int(m.s.self[0])+i)%len(nodes)])
		if p == nil {
			continue // the directory changed again
		}
		e := m.get(ctx, v, p)
		m.noteAway(p.id, errors.Is(e, errPeerAway))
		if errors.Is(e, errDropped) {
			m.noteGone(v, p.id) // under this directory it never has it again
			continue
		}
		if e != nil {
			left, err = true, errors.Join(err, e)
		}
	}
	return left, err
}

// tellAll tells past keepers that this node needs nothing of theirs any more.
func (m *moves) tellAll(ctx context.Context, v *view) (left bool, err error) {
	m.mu.Lock()
	if m.view != v {
		m.mu.Unlock()
		return true, nil
	}
	nodes := m.untoldLocked()
	m.mu.Unlock()
	for _, id := range nodes {
		p := m.s.peer(id)
		if p == nil {
			continue // the directory changed again
		}
		_, e := p.askMove(ctx, moveQuery{serial: v.dir.Serial(), done: true})
		m.noteAway(id, errors.Is(e, errPeerAway))
		if e != nil && !errors.Is(e, errDropped) {
			left, err = true, errors.Join(err, e)
			continue
		}
		m.mu.Lock()
		if m.view == v {
			m.told[id] = true
		}
		m.mu.Unlock()
	}
	return left, err
}

// noteAway notes whether a node could be reached. One that left and was switched
// off too early is asked on, in vain, and nobody needs to wait for it.
func (m *moves) noteAway(id identity.NodeID, away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away[id] = away
}

// noteGone notes that a node has handed over what is this one's and dropped it:
// there is nothing to get there, and it does not wait for anybody.
func (m *moves) noteGone(v *view, id identity.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == v {
		m.gone[id] = true
	}
}

// get pulls this node's addresses from a node that kept them. The first question
// makes sure that the other has adopted the directory, so that nothing is
// acknowledged there any more that the pull could miss; the last one that it
// dropped nothing meanwhile.
func (m *moves) get(ctx context.Context, v *view, p *peer) error {
	q := moveQuery{serial: v.dir.Serial()}
	m.mu.Lock()
	losses := m.losses
	m.mu.Unlock()
	if !m.sortedBy(v) {
		return store.ErrNotReady
	}
	if _, err := p.askMove(ctx, q); err != nil {
		return err
	}
	if err := m.pull(ctx, v, p); err != nil {
		return err
	}
	state, err := p.askMove(ctx, q)
	if err != nil {
		return err
	}
	return m.settle(ctx, v, p.id, state, losses)
}

// pull compares until nothing is missing, in short rounds between which others
// have their turn. It goes on behind what differs for good.
func (m *moves) pull(ctx context.Context, v *view, p *peer) error {
	from := store.End
	for {
		short, cancel := context.WithTimeout(ctx, moveRound)
		before := m.s.got.Load()
		left, err := p.reconcileSection(short, uint16(v.swarm), false, from)
		long := errors.Is(short.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errUnproductive) && !long && left < from:
			from = left
		case !long || m.s.got.Load() == before:
			return err
		}
	}
}

// sections is told when the store's sections are those of a directory.
func (m *moves) sections(dir *directory.Directory) {
	m.mu.Lock()
	m.sorted = dir
	m.mu.Unlock()
	signal(m.kick)
}

func (m *moves) sortedBy(v *view) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sorted == v.dir
}

// errDropped is the answer of one that dropped what it is asked for.
var errDropped = errors.New("swarm: handed over and dropped")

func (p *peer) askMove(ctx context.Context, q moveQuery) (keeperState, error) {
	reply, err := p.ask(ctx, opMove, q.encode())
	if err != nil {
		return keeperState{}, err
	}
	state, err := parseMoveReply(reply)
	if err == nil && state.gone {
		err = errDropped
	}
	return state, err
}

// state is this node's own, as others are told theirs.
func (m *moves) state(v *view) keeperState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v {
		return keeperState{floor: math.MaxUint64}
	}
	return m.stateLocked()
}

// handing is the state towards a node that gets what is its own: it must have
// the directory in which it is, and this node too.
func (m *moves) handing(v *view, serial uint64, to directory.SwarmID) (keeperState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v || serial > v.dir.Serial() {
		return keeperState{}, mailbox.ErrBusy
	}
	state := m.stateLocked()
	state.gone = m.dropped[to]
	return state, nil
}

// serveMove answers a keeper that begins or ends to get its addresses from here.
func (ps *peerStream) serveMove(ctx context.Context, body []byte) ([]byte, error) {
	q, err := parseMoveQuery(body)
	if err != nil {
		return nil, err
	}
	m, v := ps.s.moves, ps.s.view()
	asker, ok := v.dir.Node(ps.p.id)
	switch {
	case q.serial != v.dir.Serial():
		return nil, mailbox.ErrBusy // one of the two will adopt the other's
	case !ok:
		return nil, mailbox.ErrWrongSwarm
	}
	if !m.sortedBy(v) {
		return nil, mailbox.ErrBusy // what it would compare is of another directory
	}
	state, err := m.handing(v, q.serial, asker.Swarm)
	if err != nil || state.gone || !q.done {
		return state.append(nil), err
	}
	if err := m.noteHanded(ctx, q.serial, asker.ID); err != nil {
		return nil, storeError(err)
	}
	signal(m.kick)
	return state.append(nil), nil
}

// noteHanded notes that a keeper under the directory with a serial has all that
// this node had for it. Another past directory may have come to be known since it
// was asked, which changes nothing of that.
func (m *moves) noteHanded(ctx context.Context, serial uint64, id identity.NodeID) error {
	if err := m.s.cfg.Store.SetMark(ctx, m.markNow(factHanded, id, serial)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view.dir.Serial() == serial {
		m.handed[id] = true
	}
	return nil
}

// handOver drops what the keepers of other swarms have got from here, and
// reports whether something is left.
func (m *moves) handOver(ctx context.Context, v *view) (bool, error) {
	section := func(a store.Address) uint16 { return uint16(v.dir.SwarmIDOf(a)) }
	loads, err := m.s.cfg.Store.Loads(section)
	if err != nil {
		return true, err
	}
	if v.member {
		delete(loads, uint16(v.swarm))
	}
	var left store.Load
	for id, load := range loads {
		if m.mayDrop(v, directory.SwarmID(id)) {
			err = errors.Join(err, m.drop(ctx, v, directory.SwarmID(id)))
			continue
		}
		left.Mailboxes += load.Mailboxes
		left.Bytes += load.Bytes
	}
	m.mu.Lock()
	m.left, m.counted = left, m.view == v && err == nil
	m.mu.Unlock()
	if err == nil && left.Mailboxes == 0 && !v.member {
		m.s.cfg.Logger.Info("this node left the directory and has handed over all mailboxes: it may be switched off", "serial", v.dir.Serial())
	}
	return left.Mailboxes > 0, err
}

// mayDrop reports whether all keepers of a swarm have got what is theirs, or a
// majority has and the others had their time.
func (m *moves) mayDrop(v *view, id directory.SwarmID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view != v {
		return false
	}
	keepers, have := v.dir.Swarm(id), 0
	for _, k := range keepers {
		if m.handed[k.ID] {
			have++
		}
	}
	return have == len(keepers) || have >= len(keepers)/2+1 && m.s.cfg.Now().Sub(m.adopted) >= handGrace
}

// drop says first, on disk too, that the addresses are gone from here, so that
// nobody takes what is left of them for all that there was. It stops when the
// directory changes, which may give them back. Under the next directory this node
// counts for nothing at levels before this one (begin); under this one the
// keepers of other sections miss nothing.
func (m *moves) drop(ctx context.Context, v *view, id directory.SwarmID) error {
	st := m.s.cfg.Store
	if err := st.SetMark(ctx, m.markNow(factDropped, ofSwarm(id), v.dir.Serial())); err != nil {
		return err
	}
	m.mu.Lock()
	if m.view != v {
		m.mu.Unlock()
		return nil
	}
	m.dropped[id] = true
	m.mu.Unlock()
	_, err := st.Drop(ctx, func(a store.Address) bool { return m.s.view() == v && v.dir.SwarmIDOf(a) == id })
	return err
}
