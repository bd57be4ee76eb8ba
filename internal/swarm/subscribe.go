package swarm

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// subscriptions are the streams that wait for envelopes.
type subscriptions struct {
	s *Swarm

	// mu guards all below.
	mu    sync.RWMutex
	byBox map[mailbox.Address][]*subscription
	count int
}

func newSubscriptions(s *Swarm) *subscriptions {
	return &subscriptions{s: s, byBox: make(map[mailbox.Address][]*subscription)}
}

// subscription is one stream's. It holds a place in the mailbox and no queue:
// a push reads on from there, so that nothing is skipped or sent twice, and a
// slow subscriber costs no memory. An idle one costs the one goroutine that
// waits for its stream to end.
type subscription struct {
	c       *clientStream
	address mailbox.Address
	sealer  *mailbox.ReplySealer

	// generation and seq belong to the pusher, of which there is one at most.
	generation, seq uint64

	// mu guards the state of the pusher.
	mu      sync.Mutex
	running bool
	again   bool // something came while it ran
	ended   bool
	idle    sync.Cond // running became false
}

// subscribe runs the rest of a stream: challenge, proof, pushes.
func (c *clientStream) subscribe(req *mailbox.Subscribe, stamp mailbox.Stamp, sealer *mailbox.ReplySealer) error {
	err := c.s.fresh(c.s.view(), &mailbox.Received{Request: req, Stamp: stamp})
	if err == nil {
		err = c.prove(req, stamp, sealer)
	}
	var sub *subscription
	if err == nil {
		sub, err = c.s.subs.add(c, req, sealer)
	}
	c.s.metrics.request("subscribe", err)
	if errors.Is(err, errStream) {
		return err
	}
	if err != nil {
		return c.reply(sealer, refusal(err))
	}
	defer c.s.subs.remove(sub)
	err = c.reply(sealer, &mailbox.Subscribed{})
	sub.begin(err == nil)
	if err != nil {
		return err
	}
	// The stream says nothing more; when it ends, so does the subscription.
	if _, err := wire.ReadFrame(c.rwc, 0); err != nil {
		return err
	}
	return fmt.Errorf("frame on a subscription: %w", mailbox.ErrFormat)
}

// errStream marks failures of the stream, on which nothing can be answered.
var errStream = errors.New("swarm: stream ended")

// prove sends a fresh challenge and checks its answer, so that no exit can
// replay a subscription.
func (c *clientStream) prove(req *mailbox.Subscribe, stamp mailbox.Stamp, sealer *mailbox.ReplySealer) error {
	challenge := &mailbox.Challenge{}
	if _, err := io.ReadFull(c.s.cfg.Rand, challenge.Nonce[:]); err != nil {
		return fmt.Errorf("%w: %w", mailbox.ErrInternal, err)
	}
	if err := c.reply(sealer, challenge); err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	c.watch.within(proveWithin)
	frame, err := wire.ReadFrame(c.rwc, maxRequestFrame)
	c.watch.stop()
	if err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	next, err := sealer.OpenNext(frame)
	if err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	proof, ok := next.(*mailbox.Prove)
	if !ok {
		return fmt.Errorf("request where a proof is due: %w", mailbox.ErrForbidden)
	}
	return mailbox.Authorize(proof, mailbox.Terms{Now: c.s.cfg.Now(), Stamp: stamp, Subscribe: req, Challenge: challenge})
}

func (t *subscriptions) add(c *clientStream, req *mailbox.Subscribe, sealer *mailbox.ReplySealer) (*subscription, error) {
	// Running already: what comes from now on is pushed, but after Subscribed.
	sub := &subscription{c: c, address: req.Address(), sealer: sealer, running: true}
	sub.idle.L = &sub.mu
	sub.generation, sub.seq = c.s.position(req.Cursor)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count >= maxSubscriptions || len(t.byBox[sub.address]) >= maxSubscribers {
		return nil, fmt.Errorf("subscriptions: %w", mailbox.ErrBusy)
	}
	t.byBox[sub.address] = append(t.byBox[sub.address], sub)
	t.count++
	return sub, nil
}

// remove takes a subscription out and waits for its pusher, whose writes fail
// because the stream is cut first.
func (t *subscriptions) remove(sub *subscription) {
	t.mu.Lock()
	rest := slices.DeleteFunc(slices.Clone(t.byBox[sub.address]), func(x *subscription) bool { return x == sub })
	if len(rest) == 0 {
		delete(t.byBox, sub.address)
	} else {
		t.byBox[sub.address] = rest
	}
	t.count--
	t.mu.Unlock()
	cut(sub.c.rwc)
	sub.mu.Lock()
	sub.ended = true
	for sub.running {
		sub.idle.Wait()
	}
	sub.mu.Unlock()
}

// notify tells the subscribers of a mailbox that it has something new.
func (t *subscriptions) notify(a mailbox.Address) {
	t.mu.RLock()
	subs := t.byBox[a]
	t.mu.RUnlock()
	for _, sub := range subs {
		sub.kick()
	}
}

func (t *subscriptions) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}

// kick starts the pusher, unless it runs already and only has to look again.
func (sub *subscription) kick() {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.running || sub.ended {
		sub.again = true
		return
	}
	sub.running = true
	go sub.push() // awaited by subscriptions.remove
}

// begin lets the pusher of a new subscription run, once its stream is free.
func (sub *subscription) begin(ok bool) {
	if ok {
		go sub.push() // awaited by subscriptions.remove
		return
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.running = false
}

func (sub *subscription) push() {
	for {
		err := sub.pushAll()
		if err != nil {
			cut(sub.c.rwc) // the reader ends the subscription
		}
		sub.mu.Lock()
		if err != nil || !sub.again || sub.ended {
			sub.running = false
			sub.idle.Broadcast()
			sub.mu.Unlock()
			return
		}
		sub.again = false
		sub.mu.Unlock()
	}
}

// pushAll sends what lies behind the subscription's place.
func (sub *subscription) pushAll() error {
	s := sub.c.s
	for {
		p, err := s.cfg.Store.Fetch(sub.address, sub.generation, sub.seq, pushItems, pushBytes)
		if errors.Is(err, store.ErrNotOpen) {
			return nil // it may be opened yet
		}
		if err != nil {
			return err
		}
		for _, it := range p.Items {
			m := &mailbox.Pushed{
				Item:   mailbox.Item{Digest: it.Digest, Expiry: it.Expiry, Envelope: it.Bytes},
				Cursor: s.cursor(p.Generation, it.Seq),
			}
			if err := sub.c.reply(sub.sealer, m); err != nil {
				return err
			}
			s.metrics.pushes.Inc()
		}
		sub.generation, sub.seq = p.Generation, p.Next
		if !p.More {
			return nil
		}
	}
}
