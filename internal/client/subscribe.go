package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
	"sotto/internal/wire"
)

// replicas is how many members each mailbox is subscribed at, with different
// operators: one that withholds is made up for by the other.
const replicas = 2

// watchKey names the watch over one mailbox.
type watchKey struct {
	inbox  [32]byte
	period identity.Period
}

// planLoop keeps a watch over every mailbox that is to be read now, and ends
// those that are not any more (spec/client.md §5.5).
func (c *Client) planLoop() {
	watches := map[watchKey]context.CancelFunc{}
	caughtUp := map[[32]byte]bool{} // inboxes whose old periods were read, or tried in vain
	tried := make(chan [32]byte)
	finished := make(chan watchKey)
	defer func() {
		for range watches {
			<-finished
		}
	}()
	first := true
	start := func(key watchKey, f func(context.Context, time.Duration)) {
		ctx, cancel := context.WithCancel(c.ctx)
		watches[key] = cancel
		within := time.Duration(0)
		if first {
			within = c.timing.start
		}
		c.goDo(func() {
			defer cancel()
			f(ctx, within)
			finished <- key
		})
	}
	for {
		wanted := map[watchKey]bool{}
		for _, in := range c.inboxes() {
			live, old := c.watched(in, c.now())
			if len(old) > 0 {
				// Drained in order, and no mailbox again while it is watched.
				key := watchKey{in.id(), oldPeriods}
				wanted[key] = true
				if watches[key] == nil {
					start(key, func(ctx context.Context, within time.Duration) {
						if c.pause(ctx, c.random(0, within)) {
							c.drainOld(ctx, in, old, func() {
								select {
								case tried <- in.id():
								case <-ctx.Done():
								}
							})
						}
					})
				}
			} else {
				caughtUp[in.id()] = true
			}
			for _, p := range live {
				if _, err := in.credential(p); err != nil {
					continue // before the account's time
				}
				key := watchKey{in.id(), p}
				wanted[key] = true
				// What came before is read first: too many messages that others
				// overtake could not be read any more.
				if watches[key] == nil && caughtUp[in.id()] {
					start(key, func(ctx context.Context, within time.Duration) { c.watch(ctx, in, p, within) })
				}
			}
		}
		first = false
		for key, cancel := range watches {
			if !wanted[key] {
				cancel()
			}
		}
		timer := newTimer(c.timing.tick)
		select {
		case key := <-finished:
			delete(watches, key)
		case id := <-tried:
			caughtUp[id] = true
		case <-c.kickPlan:
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// oldPeriods is the watchKey's period of the one goroutine that drains.
const oldPeriods = ^identity.Period(0)

// watch subscribes to a live mailbox at two members until ctx ends, each at a
// random moment: what begins together looks like one client's. The first one is
// soon, since it brings what waits; the second has time.
func (c *Client) watch(ctx context.Context, in inbox, p identity.Period, within time.Duration) {
	w := &watch{c: c, in: in, period: p}
	for i := range w.wake {
		w.wake[i] = newSignal()
	}
	w.pressing[0] = true
	defer c.witness.watching(watchKey{in.id(), p}, w)()
	var wg sync.WaitGroup
	for i := range replicas {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i > 0 && w.rest(ctx, i) || i == 0 && c.pause(ctx, c.random(0, within)) {
				w.keep(ctx, i)
			}
		}()
	}
	wg.Wait()
}

// watch is the two subscriptions to one mailbox.
type watch struct {
	c      *Client
	in     inbox
	period identity.Period
	wake   [replicas]signal // the other one fell

	mu       sync.Mutex                // guards what follows
	at       [replicas]identity.NodeID // where each subscription is, or is being made
	up       [replicas]bool            // it stands
	pressing [replicas]bool            // it is being made in haste, since no other stands
	stands   [replicas]*subscription   // each that stands
}

// rest waits before a subscription is made. While the other one stands there is
// time: those that fell with one circuit come back far apart. If none does, the
// pause is short. It reports false when ctx ends.
func (w *watch) rest(ctx context.Context, replica int) bool {
	t := &w.c.timing
	short := max(w.c.jitter(t.backoff(0)/2), w.c.random(0, t.start))
	if w.haste(replica) {
		return w.c.pause(ctx, short)
	}
	timer := newTimer(max(short, w.c.random(0, t.second)))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-w.wake[replica]:
			if w.haste(replica) {
				return w.c.pause(ctx, short)
			}
		case <-ctx.Done():
			return false
		}
	}
}

// haste says whether this one has to be made soon, and takes that on itself.
func (w *watch) haste(replica int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range replicas {
		if i != replica && (w.up[i] || w.pressing[i]) {
			return false
		}
	}
	w.pressing[replica] = true
	return true
}

// set notes whether a subscription stands, and wakes the other one's maker when
// it does not.
func (w *watch) set(replica int, up bool) {
	w.mu.Lock()
	w.up[replica], w.pressing[replica] = up, false
	w.mu.Unlock()
	if up {
		return
	}
	for i := range replicas {
		if i != replica {
			w.wake[i].kick()
		}
	}
}

// pause waits, and reports false when ctx ends meanwhile.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	timer := newTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// keep holds one subscription up: when it falls, the next one is made after a
// random moment, since others fell with it, and after failures with growing
// pauses. When its circuit retires, the next one is made first, at a moment
// within minutes, and the old one goes on until that stands
// (spec/client.md §5.5).
func (w *watch) keep(ctx context.Context, replica int) {
	var sub *subscription
	defer func() { sub.close() }()
	failures := uint32(0)
	for ctx.Err() == nil {
		next, err := w.once(ctx, replica)
		if ctx.Err() != nil {
			next.close()
			return
		}
		if err != nil {
			if !sub.stands() {
				w.set(replica, false)
			}
			failures++
			w.c.noteFault(err)
			w.c.pause(ctx, w.c.jitter(w.c.timing.backoff(min(failures, 6))/2))
			continue
		}
		failures = 0
		sub.close()
		sub = next
		w.set(replica, true)
		w.stand(replica, sub)
		if sub.lasts(ctx, w.c.dir, w.c.random(0, w.c.timing.moving)) {
			continue // it moves
		}
		if ctx.Err() == nil {
			w.stand(replica, nil)
		}
		w.set(replica, false)
		w.rest(ctx, replica)
	}
}

// choose takes the first member in order whose operator is not the other
// subscription's.
func (w *watch) choose(replica int, a mailbox.Address) (directory.Node, bool) {
	nodes := w.c.order(a)
	w.mu.Lock()
	defer w.mu.Unlock()
	dir := w.c.dir.Current()
	for _, n := range nodes {
		clash := false
		for i, id := range w.at {
			other, ok := dir.Node(id)
			clash = clash || i != replica && ok && other.Operator == n.Operator
		}
		if !clash {
			w.at[replica] = n.ID
			return n, true
		}
	}
	if len(nodes) == 0 {
		return directory.Node{}, false
	}
	w.at[replica] = nodes[0].ID // a swarm of one operator: better than nothing
	return nodes[0], true
}

// subscription is one that stands, or stood.
type subscription struct {
	node   identity.NodeID
	box    mailbox.Address
	d      *dialogue
	cancel context.CancelFunc
	ended  chan struct{}
}

// lasts returns true when the subscription is to move, which is within a while
// of its circuit's retiring, or of a directory that names other members for the
// mailbox, and false when it has ended, or with ctx.
func (s *subscription) lasts(ctx context.Context, dir directory.Source, within time.Duration) bool {
	for moving := false; !moving; {
		changed := dir.Changed()
		if !dir.Current().InSwarmOf(s.node, s.box) {
			break
		}
		select {
		case <-changed:
		case <-s.d.stream.Retiring():
			moving = true
		case <-s.ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
	timer := newTimer(within)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// stands says whether there is one that has not ended.
func (s *subscription) stands() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// close ends the subscription, if there is one, and waits for that.
func (s *subscription) close() {
	if s != nil {
		s.cancel()
		<-s.ended
	}
}

// once makes one subscription; what it pushes is taken in until it is closed or
// ends.
func (w *watch) once(ctx context.Context, replica int) (*subscription, error) {
	c := w.c
	t, key, err := c.readTarget(w.in, w.period, replica)
	if err != nil {
		return nil, err
	}
	a := t.loc.Address()
	node, ok := w.choose(replica, a)
	if !ok {
		return nil, errNoSwarm
	}
	cursor, err := c.cursor(ctx, a, node.ID)
	if err != nil {
		return nil, err
	}
	s := &subscription{box: a, node: node.ID, ended: make(chan struct{})}
	var life context.Context
	life, s.cancel = context.WithCancel(ctx)
	setup, cancel := context.WithTimeout(ctx, c.timing.attempt)
	err = c.opened(setup, t, node.ID, func() (err error) {
		s.d, err = c.subscribe(life, setup, t, w, node.ID, cursor)
		return err
	})
	cancel()
	c.report(ctx, t.at(node.ID), err)
	if err != nil {
		s.cancel()
		return nil, err
	}
	c.standing(1)
	go func() {
		defer close(s.ended)
		defer c.standing(-1)
		defer s.d.close()
		s.follow(life, c, arrival{in: w.in, period: w.period, addr: a, key: key, node: node.ID, pushed: true})
	}()
	return s, nil
}

// follow takes in what is pushed until the subscription ends or says anything
// else.
func (s *subscription) follow(ctx context.Context, c *Client, one arrival) {
	for {
		resp, err := s.d.read()
		if err != nil {
			return
		}
		push, ok := resp.(*mailbox.Pushed)
		if !ok {
			return
		}
		one.items, one.cursor = []mailbox.Item{push.Item}, push.Cursor
		select {
		case c.arrivals <- one:
		case <-ctx.Done():
			return
		}
	}
}

// subscribe asks for the subscription and answers the challenge. setup bounds
// the asking, ctx the subscription.
func (c *Client) subscribe(ctx, setup context.Context, t target, w *watch, node identity.NodeID, cursor mailbox.Cursor) (*dialogue, error) {
	key, err := w.in.credential(w.period)
	if err != nil {
		return nil, err
	}
	s := &mailbox.Subscribe{Locator: t.loc, Cursor: cursor}
	d, resp, err := c.ask(setup, t, node, fixed(s))
	if err != nil {
		return nil, err
	}
	challenge, ok := resp.(*mailbox.Challenge)
	if !ok {
		d.close()
		return nil, unexpected(resp)
	}
	frame, err := d.opener.SealNext(s.Prove(key.signer, key.cert, node, challenge))
	if err == nil {
		err = wire.WriteFrame(d.stream, frame)
	}
	if err == nil {
		resp, err = d.read()
	}
	if err == nil {
		if _, ok := resp.(*mailbox.Subscribed); !ok {
			err = unexpected(resp)
		}
	}
	if err == nil && !d.stop() {
		err = context.Cause(setup) // it was closed just now
	}
	if err != nil {
		c.rests.note(t.at(node), err, c.now())
		d.close()
		return nil, err
	}
	d.stop = context.AfterFunc(ctx, func() { d.stream.Close() })
	return d, nil
}

func (c *Client) cursor(ctx context.Context, a mailbox.Address, node identity.NodeID) (cur mailbox.Cursor, err error) {
	err = c.vault.View(ctx, func(tx *vault.Tx) error {
		b, err := tx.Cursor(a, node)
		cur = decodeCursor(node, b)
		return err
	})
	return cur, err
}

const cursorSize = 16

// encodeCursor leaves out the node, which is the row's key.
func encodeCursor(cur mailbox.Cursor) []byte {
	return wire.AppendUint64(wire.AppendUint64(make([]byte, 0, cursorSize), cur.Incarnation), cur.Seq)
}

// decodeCursor returns the zero cursor, the start, for anything else.
func decodeCursor(node identity.NodeID, b []byte) mailbox.Cursor {
	r := wire.NewReader(b)
	cur := mailbox.Cursor{Node: node, Incarnation: r.Uint64(), Seq: r.Uint64()}
	if r.Finish() != nil {
		return mailbox.Cursor{}
	}
	return cur
}

var errDrain = errors.New("client: a majority of the swarm could not be read")
