package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

const (
	// askTimeout is how long a prober waits for a member that may be stopped.
	askTimeout = 3 * time.Second
	// proberPause is between two of a prober's questions, in the mean.
	proberPause = 150 * time.Millisecond
	// putTries is at how many members a put is tried, as a client would.
	putTries = 3
	// boxFull is after how many envelopes a prober opens another mailbox.
	boxFull = 100
	// deleteMost is how many envelopes one Delete takes out at most.
	deleteMost = 8
)

// outcome is what is known of a request.
type outcome uint8

const (
	never   outcome = iota
	unknown         // it was sent, and not answered well: it may have been done or not
	acked           // a majority signed for it, or said that it was done
)

// envelope is one that a prober put. Its bytes follow from its seed.
type envelope struct {
	seed    [32]byte
	digest  mailbox.Digest
	expiry  uint64
	put     outcome
	deleted outcome
}

func (e *envelope) bytes() []byte {
	b := make([]byte, envelopeSize)
	_, _ = rand.NewChaCha8(e.seed).Read(b) // never fails
	return b
}

// prober puts into mailboxes of its own directly at their keepers, and takes out
// again, whatever happens to them.
type prober struct {
	n     int // it opens mailboxes at the n-th swarm
	x     *exits
	rand  *rand.Rand
	conns map[identity.NodeID]*member

	mu    sync.Mutex // guards what follows, but for what the one goroutine reads
	boxes []*probed
	// false ones are puts that were acknowledged without a majority's receipts.
	puts, refused, deletes, falseAcks int
}

// probed is a mailbox of a prober's, with all that was ever put into it.
type probed struct {
	*box
	envelopes []*envelope
}

func newProber(x *exits, n int, seed uint64) *prober {
	return &prober{n: n, x: x, rand: rand.New(rand.NewPCG(seed, 1)), conns: make(map[identity.NodeID]*member)}
}

// run probes until ctx ends.
func (p *prober) run(ctx context.Context) error {
	defer p.close()
	var at *probed
	for pause(ctx, time.Duration(p.rand.Int64N(int64(2*proberPause)))) {
		if at == nil || len(at.envelopes) >= boxFull {
			b, err := p.open(ctx)
			if err != nil {
				return err
			}
			if b == nil {
				continue // nobody opened it now
			}
			at = b
		}
		switch n := p.rand.IntN(10); {
		case n < 7:
			p.putNew(ctx, at)
		case n < 9:
			p.delete(ctx, at)
		default:
			p.putAgain(ctx, at)
		}
	}
	return nil
}

func (p *prober) close() {
	for _, m := range p.conns {
		m.close()
	}
}

// pause reports whether d passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *prober) conn(id identity.NodeID) *member {
	m := p.conns[id]
	if m == nil {
		m = &member{x: p.x, id: id}
		p.conns[id] = m
	}
	return m
}

// any returns a keeper of a mailbox, whatever state it is in.
func (p *prober) any(b *box) *member {
	keepers := p.x.keepers(b)
	return p.conn(keepers[p.rand.IntN(len(keepers))].ID)
}

// open opens a new mailbox, or returns nil if the member that it asked did not.
func (p *prober) open(ctx context.Context) (*probed, error) {
	b, err := p.x.newBox(p.x.swarm(p.n))
	if err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if p.any(b).open(ask, b) != nil {
		return nil, nil // a refusal is what this is about
	}
	out := &probed{box: b}
	p.mu.Lock()
	p.boxes = append(p.boxes, out)
	p.mu.Unlock()
	return out, nil
}

func (p *prober) putNew(ctx context.Context, at *probed) {
	e := &envelope{expiry: uint64(time.Now().Add(envelopeLife).Unix())}
	for i := range e.seed {
		e.seed[i] = byte(p.rand.Uint32())
	}
	e.digest = mailbox.EnvelopeDigest(at.Address(), e.bytes())
	p.mu.Lock()
	at.envelopes = append(at.envelopes, e)
	p.mu.Unlock()
	p.put(ctx, at, e)
}

// putAgain repeats a put of an envelope that was taken out, as a writer may: it
// must not come back.
func (p *prober) putAgain(ctx context.Context, at *probed) {
	if i := slices.IndexFunc(at.envelopes, func(e *envelope) bool { return e.deleted == acked }); i >= 0 {
		p.put(ctx, at, at.envelopes[i])
	}
}

func (p *prober) put(ctx context.Context, at *probed, e *envelope) {
	bytes := e.bytes()
	for range putTries {
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		err := p.any(at.box).put(ask, at.box, bytes, e.expiry)
		cancel()
		p.mu.Lock()
		switch {
		case err == nil:
			e.put = acked
			p.puts++
		case errors.Is(err, errAnswer):
			p.falseAcks++
		default:
			e.put = max(e.put, unknown)
			p.refused++
		}
		p.mu.Unlock()
		if err == nil || ctx.Err() != nil {
			return
		}
	}
}

// delete takes some envelopes out, whatever became of their puts.
func (p *prober) delete(ctx context.Context, at *probed) {
	var some []*envelope
	var digests []mailbox.Digest
	var expiry uint64
	for _, e := range at.envelopes {
		if e.deleted != acked && p.rand.IntN(2) == 0 && len(some) < deleteMost {
			some, digests, expiry = append(some, e), append(digests, e.digest), max(expiry, e.expiry)
		}
	}
	if len(some) == 0 {
		return
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := p.any(at.box).delete(ask, at.box, digests, expiry)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range some {
		if e.deleted = max(e.deleted, unknown); err == nil {
			e.deleted = acked
			p.deletes++
		}
	}
}

// auditFault is what an audit found at one member.
type auditFault struct {
	lost, returned, repeated, foreign int
	err                               error
}

func (f auditFault) clean() bool {
	return f.err == nil && f.lost+f.returned+f.repeated+f.foreign == 0
}

func (f auditFault) String() string {
	if f.err != nil {
		return f.err.Error()
	}
	return fmt.Sprintf("%d acknowledged envelopes are missing, %d deleted ones are there, %d are there twice, %d were never put", f.lost, f.returned, f.repeated, f.foreign)
}

// judge compares what a member holds with what it must hold, and must not.
func (b *probed) judge(held map[mailbox.Digest]int) (f auditFault) {
	known := make(map[mailbox.Digest]bool)
	for _, e := range b.envelopes {
		known[e.digest] = true
		switch n := held[e.digest]; {
		case e.deleted == acked && n > 0:
			f.returned++
		case n > 1:
			f.repeated++
		case e.deleted == never && e.put == acked && n == 0:
			f.lost++
		}
	}
	for d := range held {
		if !known[d] {
			f.foreign++
		}
	}
	return f
}

// audit reads the mailboxes at all their members, until each is as it must be at
// every one or ctx ends. It returns what is not.
func (p *prober) audit(ctx context.Context) map[identity.NodeID]auditFault {
	defer p.close()
	left := slices.Clone(p.boxes)
	for {
		found := make(map[identity.NodeID]auditFault)
		left = slices.DeleteFunc(left, func(b *probed) bool { return p.auditBox(ctx, b, found) })
		if len(left) == 0 || !pause(ctx, time.Second) { // what members do among themselves has no event here
			return found
		}
	}
}

func (p *prober) auditBox(ctx context.Context, b *probed, found map[identity.NodeID]auditFault) bool {
	clean := true
	for _, n := range p.x.keepers(b.box) {
		id := n.ID
		ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		held, err := p.conn(id).read(ask, b.box)
		cancel()
		f := auditFault{err: err}
		if err == nil {
			f = b.judge(held)
		}
		if !f.clean() {
			clean = false
			sum := found[id]
			sum.lost, sum.returned = sum.lost+f.lost, sum.returned+f.returned
			sum.repeated, sum.foreign = sum.repeated+f.repeated, sum.foreign+f.foreign
			sum.err = errors.Join(sum.err, f.err)
			found[id] = sum
		}
	}
	return clean
}
