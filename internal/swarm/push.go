package swarm

import (
	"errors"
	"slices"
	"sync"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// pushState is what a subscription's pusher does.
type pushState uint8

const (
	pushIdle   pushState = iota // nothing is to be pushed
	pushQueued                  // in line
	pushing                     // in a worker's hands
)

// pushers push to subscriptions: a line of those that something came for, each
// of which gets a page in its turn, and a bounded number of workers. A worker
// whose subscriber is slow to take its page is replaced by another, so that slow
// ones hold up nobody, up to a bound; then the slowest is cut, and comes back
// with its cursor (spec/swarm.md §5.6).
type pushers struct {
	s *Swarm

	// mu guards what follows, and the state of all subscriptions.
	mu          sync.Mutex
	first, last *subscription // the line
	working     int           // workers that are not stalled
	stalled     []*pusher     // the one that waits longest first
}

// pusher is a worker. It lives while there is something to push.
type pusher struct {
	p *pushers

	// Guarded by pushers.mu.
	timer   *time.Timer // runs during writes
	sub     *subscription
	since   time.Time // of the write under way; zero without
	stalled bool
}

// kick puts subscriptions in line that something came for.
func (p *pushers) kick(subs []*subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sub := range subs {
		if sub.state == pushIdle {
			p.queueLocked(sub)
		} else {
			sub.again = true
		}
	}
}

// end ends a subscription, and frees it once nobody pushes to it.
func (p *pushers) end(sub *subscription) {
	sub.tail.Abort()
	p.mu.Lock()
	idle := sub.state == pushIdle && !sub.ended
	sub.ended = true
	p.mu.Unlock()
	if idle {
		p.free(sub)
	}
}

func (p *pushers) free(sub *subscription) {
	p.s.subs.leave(sub)
	p.s.wg.Done()
}

func (p *pushers) queueLocked(sub *subscription) {
	sub.state, sub.again = pushQueued, false
	if p.last == nil {
		p.first = sub
	} else {
		p.last.behind = sub
	}
	p.last = sub
	p.startLocked()
}

// startLocked starts a worker if one may run and has something to do.
func (p *pushers) startLocked() {
	switch {
	case p.first == nil:
	case p.working < maxPushers:
		p.working++
		p.s.wg.Go((&pusher{p: p}).run)
	case len(p.stalled) == maxStalled:
		// All wait for the slowest.
		if w := p.stalled[0]; !w.since.IsZero() && time.Since(w.since) > stallShare {
			w.sub.tail.Abort()
		}
	}
}

// takeLocked takes the first in line.
func (p *pushers) takeLocked() *subscription {
	sub := p.first
	if sub == nil {
		return nil
	}
	if p.first, sub.behind = sub.behind, nil; p.first == nil {
		p.last = nil
	}
	sub.state = pushing
	return sub
}

// run pushes a page to each in line in turn, until the line is empty or another
// worker has taken this one's place.
func (w *pusher) run() {
	for sub := w.next(); sub != nil; sub = w.next() {
		more, err := w.push(sub)
		if err != nil {
			w.p.end(sub)
		}
		w.done(sub, more)
	}
}

func (w *pusher) next() *subscription {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.stalled { // its place is taken; there may be room by now
		w.p.stalled = slices.DeleteFunc(w.p.stalled, func(x *pusher) bool { return x == w })
		w.stalled = false
		if w.p.working >= maxPushers {
			return nil
		}
		w.p.working++
	}
	w.sub = w.p.takeLocked()
	if w.sub == nil {
		w.p.working--
	}
	return w.sub
}

// done puts a subscription that has had its page back in line, or to rest.
func (w *pusher) done(sub *subscription, more bool) {
	w.p.mu.Lock()
	ended := sub.ended
	switch {
	case ended:
		sub.state = pushIdle
	case more || sub.again:
		w.p.queueLocked(sub)
	default:
		sub.state = pushIdle
	}
	w.p.mu.Unlock()
	if ended {
		w.p.free(sub)
	}
}

// push sends the next page of what lies behind a subscription's place, and
// before the first one that it stands.
func (w *pusher) push(sub *subscription) (more bool, _ error) {
	s := w.p.s
	if sub.tail.Ended() {
		return false, ErrClosed
	}
	if !sub.greeted {
		if err := w.send(sub, &mailbox.Subscribed{}); err != nil {
			return false, err
		}
		sub.greeted = true
	}
	page, err := s.cfg.Store.Fetch(sub.address, sub.generation, sub.seq, pushItems, pushBytes)
	if errors.Is(err, store.ErrNotOpen) {
		return false, nil // it may be opened yet
	}
	if err != nil {
		return false, err
	}
	for _, it := range page.Items {
		err := w.send(sub, &mailbox.Pushed{
			Item:   mailbox.Item{Digest: it.Digest, Expiry: it.Expiry, Envelope: it.Bytes},
			Cursor: s.cursor(page.Generation, it.Seq),
		})
		if err != nil {
			return false, err
		}
		s.metrics.pushes.Inc()
	}
	sub.generation, sub.seq = page.Generation, page.Next
	return page.More, nil
}

// send sends a frame. A subscriber who takes long is first passed by, then cut.
func (w *pusher) send(sub *subscription, resp mailbox.Response) error {
	frame, err := sub.sealer.Seal(resp)
	if err != nil {
		return err
	}
	w.begin()
	defer w.end()
	return wire.WriteFrame(sub.tail, frame)
}

func (w *pusher) begin() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.since = time.Now()
	if first := min(pushPatience, w.p.s.stall); w.timer == nil {
		w.timer = time.AfterFunc(first, w.slow)
	} else {
		w.timer.Reset(first)
	}
}

func (w *pusher) end() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.timer.Stop()
	w.since = time.Time{}
}

// slow is called while a write takes long: at first another worker takes this
// one's place; at last the subscriber is cut.
func (w *pusher) slow() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.since.IsZero() {
		return // it is over
	}
	if left := w.p.s.stall - time.Since(w.since); left > 0 {
		w.timer.Reset(left)
	} else {
		w.sub.tail.Abort()
	}
	if !w.stalled && len(w.p.stalled) < maxStalled {
		w.stalled = true
		w.p.stalled = append(w.p.stalled, w)
		w.p.working--
		w.p.startLocked()
	}
}
