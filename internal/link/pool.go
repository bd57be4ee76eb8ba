package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// ErrBackoff is wrapped by every *BackoffError.
var ErrBackoff = errors.New("link: node failed a moment ago")

// BackoffError says that a node could not be reached a moment ago and is not
// tried again before Wait has passed. It wraps ErrBackoff and the failure.
type BackoffError struct {
	Wait time.Duration
	Err  error
}

// Error implements error.
func (e *BackoffError) Error() string {
	return fmt.Sprintf("%v, next attempt in %v: %v", ErrBackoff, e.Wait.Round(time.Millisecond), e.Err)
}

// Unwrap implements the errors package's convention.
func (e *BackoffError) Unwrap() []error { return []error{ErrBackoff, e.Err} }

// pooled is what a pool keeps: *Link and *ServiceConn.
type pooled interface {
	Done() <-chan struct{}
}

// pool keeps one live connection per node and bounds the attempts to make it
// (spec/link.md §5.3).
type pool[T pooled] struct {
	e    *Endpoint
	dial func(context.Context, directory.Node) (T, error)
	wg   sync.WaitGroup // attempts

	mu    sync.Mutex // guards peers and what they point to
	peers map[identity.NodeID]*peer[T]
}

// peer is one node's place in a pool.
type peer[T pooled] struct {
	live     T
	has      bool
	attempt  *attempt[T]
	failures int
	retry    time.Time // no attempt before it
	err      error     // the last failure
}

// attempt is a dial under way; its result is read after done is closed.
type attempt[T pooled] struct {
	done chan struct{}
	conn T
	err  error
}

func newPool[T pooled](e *Endpoint, dial func(context.Context, directory.Node) (T, error)) *pool[T] {
	return &pool[T]{e: e, dial: dial, peers: make(map[identity.NodeID]*peer[T])}
}

// get returns the live connection to node, or joins or starts an attempt.
func (p *pool[T]) get(ctx context.Context, node directory.Node) (T, error) {
	var zero T
	a, conn, err := p.join(node)
	if a == nil {
		return conn, err
	}
	select {
	case <-a.done:
		return a.conn, a.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// join returns the attempt to wait for, or nil with a connection or an error.
func (p *pool[T]) join(node directory.Node) (*attempt[T], T, error) {
	var zero T
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.e.ctx.Err() != nil {
		return nil, zero, ErrClosed
	}
	q := p.peers[node.ID]
	if q == nil {
		q = &peer[T]{}
		p.peers[node.ID] = q
	}
	if q.has && alive(q.live) {
		return nil, q.live, nil
	}
	q.live, q.has = zero, false
	if q.attempt != nil {
		return q.attempt, zero, nil
	}
	if wait := q.retry.Sub(p.e.cfg.Now()); wait > 0 {
		return nil, zero, &BackoffError{Wait: wait, Err: q.err}
	}
	a := &attempt[T]{done: make(chan struct{})}
	q.attempt = a
	p.wg.Go(func() { p.run(node, q, a) })
	return a, zero, nil
}

// run makes one attempt. It ends on the endpoint's account, not a caller's, so
// that one impatient caller does not spoil it for the others.
func (p *pool[T]) run(node directory.Node, q *peer[T], a *attempt[T]) {
	ctx, cancel := context.WithTimeout(p.e.ctx, dialTimeout)
	defer cancel()
	a.conn, a.err = p.dial(ctx, node)
	if a.err != nil && p.e.ctx.Err() != nil {
		a.err = ErrClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q.attempt = nil
	if a.err == nil {
		q.live, q.has, q.failures, q.err = a.conn, true, 0, nil
	} else {
		q.err = a.err
		q.retry = p.e.cfg.Now().Add(backoff(q.failures))
		q.failures++
	}
	close(a.done)
}

// reachable forgets the failures of a node that has just called us.
func (p *pool[T]) reachable(id identity.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.peers[id]; q != nil {
		q.failures, q.retry = 0, time.Time{}
	}
}

// forget ends all pauses.
func (p *pool[T]) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.peers {
		q.failures, q.retry = 0, time.Time{}
	}
}

// wait returns when no attempt is under way.
func (p *pool[T]) wait() {
	p.mu.Lock()   // join starts none after the endpoint's context is done
	p.mu.Unlock() //lint:ignore SA2001 whoever held the lock has added to wg
	p.wg.Wait()
}

// backoff is the pause after failures+1 failed attempts: doubling, and half of
// it random, so that many who lost a node don't return to it at once.
func backoff(failures int) time.Duration {
	d := backoffMax
	if failures < 16 {
		d = min(backoffMax, backoffMin<<failures)
	}
	return d/2 + rand.N(d/2)
}

func alive(c pooled) bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}
