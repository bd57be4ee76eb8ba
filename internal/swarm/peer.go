package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

var (
	errPeerAway  = errors.New("swarm: peer is away")
	errPeerSlow  = errors.New("swarm: peer is too slow")
	errPeerReply = errors.New("swarm: reply without a call")
)

// call is a question to a peer. done is called exactly once, from any
// goroutine, and must not block.
type call struct {
	op   opcode
	body []byte
	done func(reply []byte, err error)
	sent time.Time
}

// peer is another node as this one calls it: a member of its swarm, or one that
// mailboxes move from or to. Three goroutines serve a member, from start to
// end: run keeps a stream to it, reconcileLoop compares with it, handLoop hands
// over what it missed. Another node has only the first.
type peer struct {
	s         *Swarm
	id        identity.NodeID
	member    bool               // else it is called when there is need
	cancel    context.CancelFunc // set by start
	loops     sync.WaitGroup
	queue     chan *call
	wake      chan struct{} // someone needs it: don't wait out the backoff
	lookNow   chan struct{} // compare with it now
	compared  atomic.Uint64 // 1 + the losses of the store when it was compared with to the end; 0: never
	comparing chan struct{} // holds a token during a round, and guards left and shared
	hurry     chan struct{} // a client waits for a round
	left      leftAt
	shared    bool          // the last round looked at everything
	rounds    atomic.Uint64 // how many have begun
	roots     mailbox.Roots // of its receipts
	refusals  refusals      // of its records
	hand      chan struct{} // hand over now what it missed

	// mu guards down and bytes, and orders send against failQueued.
	mu     sync.Mutex
	down   bool // the last attempt failed, and none has succeeded since
	bytes  int  // waiting in queue
	missed bool // a change was not sent: tell it to compare

	// served are the streams on which it calls us, oldest first; under mu.
	served []io.Closer
}

// serving counts a stream on which the peer calls us. A peer needs one, and
// another when it has lost one and we don't know yet: the oldest of more is cut.
func (p *peer) serving(c io.Closer) {
	p.mu.Lock()
	p.served = append(p.served, c)
	var oldest io.Closer
	if len(p.served) > peerStreams {
		oldest = p.served[0]
		p.served = slices.Delete(p.served, 0, 1)
	}
	p.mu.Unlock()
	if oldest != nil {
		cut(oldest)
	}
}

func (p *peer) servedOut(c io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served = slices.DeleteFunc(p.served, func(x io.Closer) bool { return x == c })
}

func newPeer(s *Swarm, id identity.NodeID, member bool) *peer {
	return &peer{
		s: s, id: id, member: member,
		queue:     make(chan *call, peerQueue),
		wake:      make(chan struct{}, 1),
		lookNow:   make(chan struct{}, 1),
		comparing: make(chan struct{}, 1),
		hurry:     make(chan struct{}, 1),
		hand:      make(chan struct{}, 1),
	}
}

// reconciled reports whether the peer was compared with to the end since the
// start, and since the store lost something.
func (p *peer) reconciled() bool { return p.compared.Load() == 1+p.s.cfg.Store.Losses() }

// start runs the peer's goroutines until ctx ends or end is called.
func (p *peer) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.loops.Go(func() { p.run(ctx) })
	if p.member {
		p.loops.Go(func() { p.reconcileLoop(ctx) })
		p.loops.Go(func() { p.handLoop(ctx) })
	}
}

// end stops a started peer's goroutines and waits for them. Calls that come
// later are answered as by a peer that is away.
func (p *peer) end() {
	p.cancel()
	p.mu.Lock()
	served := slices.Clone(p.served)
	p.mu.Unlock()
	for _, c := range served {
		cut(c)
	}
	p.loops.Wait()
}

// send queues a call. It never blocks: when the peer is away or has too much
// waiting, done hears of it at once.
func (p *peer) send(c *call) {
	if err := p.enqueue(c); err != nil {
		signal(p.wake)
		c.done(nil, err)
	}
}

func (p *peer) enqueue(c *call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := errPeerSlow
	switch {
	case p.down:
		err = errPeerAway
	case p.bytes+len(c.body) <= peerQueueBytes:
		select {
		case p.queue <- c:
			p.bytes += len(c.body)
			if !p.member {
				signal(p.wake)
			}
			return nil
		default:
		}
	}
	p.missed = true
	return err
}

// ask sends a call and waits for its answer.
func (p *peer) ask(ctx context.Context, op opcode, body []byte) ([]byte, error) {
	type answer struct {
		reply []byte
		err   error
	}
	got := make(chan answer, 1)
	p.send(&call{op: op, body: body, done: func(reply []byte, err error) { got <- answer{reply, err} }})
	select {
	case a := <-got:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *peer) lookSoon() { signal(p.lookNow) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run connects to the peer again and again until ctx ends.
func (p *peer) run(ctx context.Context) {
	defer p.failQueued()
	backoff := backoffMin
	for p.needed(ctx) {
		began := time.Now()
		err := p.connect(ctx)
		p.failQueued()
		if ctx.Err() != nil {
			return
		}
		p.s.cfg.Logger.Debug("peer stream ended", "node", p.id.String(), "error", err)
		if time.Since(began) > backoffMax {
			backoff = backoffMin
		}
		p.pause(ctx, backoff)
		backoff = min(2*backoff, backoffMax)
		if !p.member {
			p.up() // nobody calls it but those who wait for an attempt
		}
	}
}

// up lets calls wait for the peer. A member that could not be reached gets none
// before it is: those that gathered during an attempt would fail all at once.
func (p *peer) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// needed waits until a stream to the peer is wanted, for a member at once; it
// reports false when ctx ended.
func (p *peer) needed(ctx context.Context) bool {
	if p.member {
		return ctx.Err() == nil
	}
	select {
	case <-p.wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits out a backoff with jitter; a call that needs the peer ends it
// early, but not before the shortest one.
func (p *peer) pause(ctx context.Context, d time.Duration) {
	select {
	case <-p.wake:
	default:
	}
	if !sleep(ctx, p.s.jitter(backoffMin)) {
		return
	}
	t := time.NewTimer(p.s.jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.wake:
	case <-ctx.Done():
	}
}

// jitter returns d and up to a third more.
func (s *Swarm) jitter(d time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return d
	}
	return d + time.Duration(binary.BigEndian.Uint64(b[:])%uint64(d/3+1))
}

// failQueued answers what still waits, and what comes until the next attempt.
func (p *peer) failQueued() {
	p.mu.Lock()
	p.down, p.missed = true, true
	var failed []*call
	for len(p.queue) > 0 {
		failed = append(failed, <-p.queue)
	}
	p.bytes = 0
	p.mu.Unlock()
	for _, c := range failed {
		c.done(nil, errPeerAway)
	}
}

// away reports whether the last attempt to reach the peer failed.
func (p *peer) away() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// takeMissed reports whether changes were passed over since it was last asked.
func (p *peer) takeMissed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.missed && len(p.queue) == 0
	if m {
		p.missed = false
	}
	return m
}

// connect opens a stream and serves calls on it until it breaks.
func (p *peer) connect(ctx context.Context) error {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	rwc, err := p.s.cfg.Peers.OpenStream(dctx, p.id)
	if err != nil {
		return err
	}
	rwc = metered{rwc, p.s.metrics.peerBytes}
	sess := &session{
		p: p, rwc: rwc,
		watch:   newWatch(rwc, callTimeout),
		pending: make(map[uint64]*call),
		freed:   make(chan struct{}, 1),
	}
	defer sess.watch.stop()
	defer cut(rwc)
	stop := context.AfterFunc(ctx, func() { cut(rwc) })
	defer stop()
	head := append([]byte{StreamPeer}, wire.AppendVec32(nil, encodeHello(p.s.cfg.Identity, p.id, p.s.cfg.Now()))...)
	if _, err := rwc.Write(head); err != nil {
		return err
	}
	sess.watch.stop()
	p.up()
	return sess.run(ctx)
}
