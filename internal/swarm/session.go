package swarm

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

// session is one stream to a peer, from hello to its end.
type session struct {
	p     *peer
	rwc   io.ReadWriteCloser
	watch *watch // writes
	freed chan struct{}

	// mu guards pending.
	mu      sync.Mutex
	pending map[uint64]*call
}

func (ss *session) run(ctx context.Context) error {
	broken := make(chan error, 1)
	go func() { broken <- ss.read() }() // ended by cutting rwc, awaited below
	p := ss.p
	p.catchUpSoon()
	p.takeMissed()
	err := ss.write(0, nudge())
	ticker := time.NewTicker(callTimeout / 5)
	defer ticker.Stop()
	var reason error
	for id := uint64(1); err == nil && reason == nil; {
		queue := p.queue
		if ss.waiting() >= peerPending {
			queue = nil
		}
		select {
		case c := <-queue:
			p.mu.Lock()
			p.bytes -= len(c.body)
			p.mu.Unlock()
			err = ss.write(id, c)
			id++
		case <-ss.freed:
		case <-ticker.C:
			reason = ss.check()
			if err == nil && reason == nil && p.takeMissed() {
				err = ss.write(id, nudge())
				id++
			}
		case reason = <-broken:
			broken <- reason
		case <-ctx.Done():
			reason = ctx.Err()
		}
	}
	cut(ss.rwc)
	readErr := <-broken
	ss.failPending()
	return errors.Join(reason, err, readErr)
}

func nudge() *call { return &call{op: opNudge, done: func([]byte, error) {}} }

func (ss *session) waiting() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.pending)
}

// write sends one call; its answer may come before write returns.
func (ss *session) write(id uint64, c *call) error {
	frame := encodeCall(c.op, id, c.body)
	ss.mu.Lock()
	c.body, c.sent = nil, time.Now()
	ss.pending[id] = c
	ss.mu.Unlock()
	ss.watch.within(callTimeout)
	defer ss.watch.stop()
	return wire.WriteFrame(ss.rwc, frame)
}

// check ends a session whose peer leaves a call unanswered.
func (ss *session) check() error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, c := range ss.pending {
		if time.Since(c.sent) > callTimeout {
			return errPeerSlow
		}
	}
	return nil
}

func (ss *session) read() error {
	for {
		frame, err := wire.ReadFrame(ss.rwc, maxPeerFrame)
		if err != nil {
			return err
		}
		code, id, body, err := parseCall(frame)
		if err != nil {
			return err
		}
		ss.mu.Lock()
		c := ss.pending[id]
		delete(ss.pending, id)
		ss.mu.Unlock()
		if c == nil {
			return errPeerReply
		}
		signal(ss.freed)
		if code != codeDone {
			c.done(nil, &mailbox.Failure{Code: mailbox.ErrorCode(code)})
			continue
		}
		c.done(body, nil)
	}
}

func (ss *session) failPending() {
	ss.mu.Lock()
	failed := ss.pending
	ss.pending = nil
	ss.mu.Unlock()
	for _, c := range failed {
		c.done(nil, errPeerAway)
	}
}
