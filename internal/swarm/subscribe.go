package swarm

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"sotto/internal/mailbox"
)

// subscribing is a Subscribe whose challenge waits for its proof.
type subscribing struct {
	req       *mailbox.Subscribe
	stamp     mailbox.Stamp
	sealer    *mailbox.ReplySealer
	challenge mailbox.Challenge
}

// challenge sends a fresh challenge, so that no exit can replay a subscription.
func (c *clientStream) challenge(a *subscribing) error {
	err := c.s.fresh(c.s.view(), &mailbox.Received{Request: a.req, Stamp: a.stamp})
	if err == nil {
		if _, rerr := io.ReadFull(c.s.cfg.Rand, a.challenge.Nonce[:]); rerr != nil {
			err = fmt.Errorf("%w: %w", mailbox.ErrInternal, rerr)
		}
	}
	if err != nil {
		return c.refuse(a, err)
	}
	c.asked = a
	return c.reply(a.sealer, &a.challenge)
}

// patience is how long the stream may say nothing now.
func (c *clientStream) patience() time.Duration {
	if c.asked != nil {
		return proveWithin
	}
	return streamIdle
}

// proved takes the answer to a challenge, and makes the stream a subscription.
func (c *clientStream) proved(frame []byte) error {
	a := c.asked
	c.asked = nil
	next, err := a.sealer.OpenNext(frame)
	if err != nil {
		return err
	}
	proof, ok := next.(*mailbox.Prove)
	if !ok {
		return c.refuse(a, fmt.Errorf("request where a proof is due: %w", mailbox.ErrForbidden))
	}
	err = mailbox.Authorize(proof, mailbox.Terms{Now: c.s.cfg.Now(), Stamp: a.stamp, Subscribe: a.req, Challenge: &a.challenge})
	if err == nil {
		err = c.s.subs.room(a.req.Address())
	}
	if err == nil {
		err = c.s.readyFor(a.req.Address())
	}
	if err != nil {
		return c.refuse(a, err)
	}
	defer c.end(nil) // the stream says nothing more
	c.endOnce(nil)
	tail, err := c.stream.Continue()
	if err != nil {
		return c.refuse(a, fmt.Errorf("%w: %w", mailbox.ErrBusy, err))
	}
	err = c.s.subs.add(tail, a)
	if err != nil {
		tail.Abort()
	}
	if v := c.s.view(); !v.keeps(a.req.Address()) { // the directory changed meanwhile
		c.s.subs.end(func(sub *subscription) bool { return !v.keeps(sub.address) })
	}
	c.s.metrics.request("subscribe", err)
	return nil
}

// readyFor makes sure that what is pushed from a mailbox that moves begins with
// all that was acknowledged before.
func (s *Swarm) readyFor(a mailbox.Address) error {
	v := s.view()
	if err := v.refuse(a); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, putTimeout)
	defer cancel()
	return s.ready(ctx, v, a)
}

func (c *clientStream) refuse(a *subscribing, err error) error {
	c.s.metrics.request("subscribe", err)
	return c.reply(a.sealer, refusal(err))
}

// subscription is a tail that waits for envelopes. It holds a place in the
// mailbox and no queue: a push reads on from there, so that nothing is skipped
// or sent twice, and a slow subscriber costs no memory. An idle one is these
// bytes and its tail, and no goroutine: a sweep finds those that have ended.
type subscription struct {
	tail    Tail
	address mailbox.Address
	sealer  *mailbox.ReplySealer

	// These belong to the pusher, of which there is one at most.
	generation, seq uint64
	greeted         bool // Subscribed has left

	next *subscription // of the same mailbox; guarded by subscriptions.mu
	at   int           // its place in subscriptions.all; likewise

	behind *subscription // in the line of pushers; guarded by pushers.mu
	state  pushState     // likewise
	again  bool          // something came while it was pushed to; likewise
	ended  bool          // likewise
}

// subscriptions are all that stand.
type subscriptions struct {
	s *Swarm

	// mu guards all below.
	mu     sync.RWMutex
	all    []*subscription
	byBox  map[mailbox.Address]*subscription
	closed bool
}

func newSubscriptions(s *Swarm) *subscriptions {
	return &subscriptions{s: s, byBox: make(map[mailbox.Address]*subscription)}
}

// room reports whether there is room for one more subscription to a mailbox.
// Those that have ended count no more.
func (t *subscriptions) room(a mailbox.Address) error {
	var over []*subscription
	t.mu.RLock()
	others := 0
	for x := t.byBox[a]; x != nil; x = x.next {
		if x.tail.Ended() {
			over = append(over, x)
		} else {
			others++
		}
	}
	full := t.closed || len(t.all) >= maxSubscriptions || others >= maxSubscribers
	t.mu.RUnlock()
	for _, x := range over {
		t.s.pushers.end(x)
	}
	if full {
		return fmt.Errorf("subscriptions: %w", mailbox.ErrBusy)
	}
	return nil
}

// add makes a tail a subscription, until the tail ends.
func (t *subscriptions) add(tail Tail, a *subscribing) error {
	sub := &subscription{tail: tail, address: a.req.Address(), sealer: a.sealer}
	sub.generation, sub.seq = t.s.position(a.req.Cursor)
	if !t.enter(sub) {
		return ErrClosed
	}
	t.s.pushers.kick([]*subscription{sub})
	return nil
}

func (t *subscriptions) enter(sub *subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	sub.next, sub.at = t.byBox[sub.address], len(t.all)
	t.byBox[sub.address] = sub
	t.all = append(t.all, sub)
	t.s.wg.Add(1) // until pushers.free; the stream's own still counts
	return true
}

// leave takes a subscription out.
func (t *subscriptions) leave(sub *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.all) - 1
	t.all[sub.at] = t.all[last]
	t.all[sub.at].at = sub.at
	t.all[last] = nil
	t.all = t.all[:last]
	first := t.byBox[sub.address]
	switch {
	case first != sub:
		for first.next != sub {
			first = first.next
		}
		first.next = sub.next
	case sub.next == nil:
		delete(t.byBox, sub.address)
	default:
		t.byBox[sub.address] = sub.next
	}
}

// notify tells the subscribers of a mailbox that it has something new.
func (t *subscriptions) notify(a mailbox.Address) {
	var room [maxSubscribers]*subscription
	told := room[:0]
	t.mu.RLock()
	for sub := t.byBox[a]; sub != nil; sub = sub.next {
		told = append(told, sub)
	}
	t.mu.RUnlock()
	if len(told) > 0 {
		t.s.pushers.kick(told)
	}
}

// sweepLoop frees the subscriptions whose streams have ended.
func (t *subscriptions) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.sweep()
		case <-ctx.Done():
			return
		}
	}
}

func (t *subscriptions) sweep() {
	t.end(func(sub *subscription) bool { return sub.tail.Ended() })
}

// close refuses new subscriptions and ends all that stand.
func (t *subscriptions) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.end(func(*subscription) bool { return true })
}

// end ends some subscriptions. It looks at a few at a time, so that pushes need
// not wait for it.
func (t *subscriptions) end(which func(*subscription) bool) {
	for low := t.len(); low > 0; { // from behind: those that leave are replaced by later ones
		high := low
		low = max(low-sweepStep, 0)
		for _, sub := range t.some(low, high, which) {
			t.s.pushers.end(sub)
		}
	}
}

func (t *subscriptions) some(low, high int, which func(*subscription) bool) (out []*subscription) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, sub := range t.all[min(low, len(t.all)):min(high, len(t.all))] {
		if which(sub) {
			out = append(out, sub)
		}
	}
	return out
}

func (t *subscriptions) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.all)
}
