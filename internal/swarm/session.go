package swarm

import (
	"bufio"
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

	// Of run.
	out []byte // frames on their way
	ids uint64 // given to calls

	// mu guards pending.
	mu      sync.Mutex
	pending map[uint64]*call
}

func (ss *session) run(ctx context.Context) error {
	broken := make(chan error, 1)
	go func() { broken <- ss.read() }() // ended by cutting rwc, awaited below
	p := ss.p
	p.lookSoon()
	signal(p.hand)
	p.takeMissed()
	err := ss.write(nudge())
	ticker := time.NewTicker(callTimeout / 5)
	defer ticker.Stop()
	var reason error
	for err == nil && reason == nil {
		queue := p.queue
		if ss.waiting() >= peerPending {
			queue = nil
		}
		select {
		case c := <-queue:
			err = ss.write(ss.gather(c)...)
		case <-ss.freed:
		case <-ticker.C:
			reason = ss.check()
			if err == nil && reason == nil && p.takeMissed() {
				signal(p.hand)
				err = ss.write(nudge())
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

// gather takes what else waits, to be written at once: QUIC sends one large
// piece faster than many small ones, each of which would wait for its pacing.
func (ss *session) gather(first *call) []*call {
	p := ss.p
	calls, size := []*call{first}, len(first.body)
	room := peerPending - ss.waiting()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(calls) < room && size < writeBytes {
		select {
		case c := <-p.queue:
			calls = append(calls, c)
			size += len(c.body)
		default:
			room = 0
		}
	}
	p.bytes -= size
	return calls
}

// write sends calls; answers may come before it returns.
func (ss *session) write(calls ...*call) error {
	out, now := ss.out[:0], time.Now()
	ss.mu.Lock()
	for _, c := range calls {
		ss.ids++
		out = appendCall(out, uint8(c.op), ss.ids, c.body)
		c.body, c.sent = nil, now
		ss.pending[ss.ids] = c
	}
	ss.mu.Unlock()
	ss.watch.within(callTimeout)
	defer ss.watch.stop()
	_, err := ss.rwc.Write(out)
	ss.out = kept(out)
	return err
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
	in := bufio.NewReaderSize(ss.rwc, readBytes)
	for {
		frame, err := wire.ReadFrame(in, maxPeerFrame)
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
