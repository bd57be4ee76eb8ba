package swarm

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

// TestIdleSubscriptionsHoldNoGoroutine compares goroutines, not bytes: what one
// takes is measured by sotto bench store.
func TestIdleSubscriptionsHoldNoGoroutine(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	const count = 200
	before := runtime.NumGoroutine()
	for range count {
		b := newBox(w)
		if _, err := w.client(w.nodes[0]).subscribe(b, mailbox.Cursor{}, b.owner); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the goroutines of their setting up to end", func() bool { return runtime.NumGoroutine() < before+count/4 })
	if n := s.subs.len(); n != count {
		t.Errorf("%d subscriptions, want %d", n, count)
	}
	eventually(t, "their streams to be let go", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.streams {
			if p, ok := c.(*pipeEnd); ok && p.continued.Load() {
				return false
			}
		}
		return true
	})
}

// TestStreamIsReadWhileAnswersWait has a client ask and take no answer: what it
// sends must not lie in the window that it shares with others, and is bounded.
func TestStreamIsReadWhileAnswersWait(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	rwc, err := OpenClientStream(t.Context(), exitDialer{w}, w.nodes[0].id)
	if err != nil {
		t.Fatal(err)
	}
	defer rwc.Close()
	request := append([]byte{mailbox.FrameSealed, 1}, make([]byte, 100<<10)...)
	sent := 0
	for err == nil {
		if err = wire.WriteFrame(rwc, request); err == nil {
			sent += len(request)
		}
	}
	if !errors.Is(err, errReset) {
		t.Errorf("who sends on ends with %v", err)
	}
	if sent < maxUnanswered-len(request) || sent > maxUnanswered+len(request) {
		t.Errorf("%d bytes were read ahead, at most %d may be", sent, maxUnanswered)
	}
	eventually(t, "what was read to be given back", func() bool { return s.ahead.taken() == 0 })
	// Others are served.
	if b := newBox(w); b != nil {
		w.client(w.nodes[0]).open(b, 1<<20)
	}
}

// TestAheadIsBoundedInAll counts what all streams hold.
func TestAheadIsBoundedInAll(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	for i := range byte(exitShare) {
		exit := identity.NodeID{i}
		if !s.ahead.take(exit, maxAhead/exitShare) || s.ahead.take(exit, 1) {
			t.Fatal("an exit has not just its share")
		}
	}
	rwc, err := OpenClientStream(t.Context(), exitDialer{w}, w.nodes[0].id)
	if err != nil {
		t.Fatal(err)
	}
	defer rwc.Close()
	_ = wire.WriteFrame(rwc, mailbox.KeysRequest())
	if _, err := wire.ReadFrame(rwc, mailbox.MaxFrame); !errors.Is(err, errReset) {
		t.Errorf("a request above the bound: %v", err)
	}
	for i := range byte(exitShare) {
		s.ahead.give(identity.NodeID{i}, maxAhead/exitShare)
	}
	if s.ahead.taken() != 0 || len(s.ahead.of) != 0 {
		t.Errorf("%d bytes are left of %d exits", s.ahead.taken(), len(s.ahead.of))
	}
	w.client(w.nodes[0])
}

// TestStreamsOfOneNodeAreBounded: a node that opens streams and says nothing
// leaves room for others, and loses them soon.
func TestStreamsOfOneNodeAreBounded(t *testing.T) {
	w := newWorld(t, 5)
	n := w.nodes[0]
	if !n.swarm.places.take(w.exit, maxNodeStreams) {
		t.Fatal("no room")
	}
	if rwc, err := OpenClientStream(t.Context(), exitDialer{w}, n.id); err == nil { // or it is refused by then
		_ = wire.WriteFrame(rwc, mailbox.KeysRequest())
		if b, err := wire.ReadFrame(rwc, mailbox.MaxFrame); err == nil {
			t.Errorf("beyond its share a node gets %d bytes", len(b))
		}
		_ = rwc.Close()
	}
	n.swarm.places.give(w.exit, maxNodeStreams)
	c := w.client(n)
	if !n.swarm.places.take(identity.NodeID{1}, maxNodeStreams) {
		t.Error("one node's streams take another's places")
	}
	n.swarm.places.give(identity.NodeID{1}, maxNodeStreams)
	c.close()
	eventually(t, "all places to be free", func() bool {
		n.swarm.places.mu.Lock()
		defer n.swarm.places.mu.Unlock()
		return n.swarm.places.of[w.exit] == 0
	})
}

// TestAnswersNobodyTakesAreBounded: envelopes in answers that wait to be taken
// are counted for the exit that brought the questions, and given back.
func TestAnswersNobodyTakesAreBounded(t *testing.T) {
	w := newWorld(t, 5)
	n := w.nodes[0]
	s, c, b := n.swarm, w.client(n), newBox(w)
	c.open(b, 1<<20)
	c.mustSendUnder(b)
	share := maxReplies / exitShare
	if !s.replies.take(w.exit, share) {
		t.Fatal("no room")
	}
	if _, err := c.fetch(b, mailbox.Cursor{}, b.owner); !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("beyond the share of the exit: %v", err)
	}
	if _, err := c.do(&mailbox.Quote{}, nil); err != nil {
		t.Errorf("what is small: %v", err)
	}
	s.replies.give(w.exit, share)
	batch, err := c.fetch(b, mailbox.Cursor{}, b.owner)
	if err != nil || len(batch.Items) != 1 {
		t.Fatalf("%v, %v", batch, err)
	}
	eventually(t, "all to be given back", func() bool { return s.replies.taken() == 0 })

	// It counts while nobody reads.
	f := &mailbox.Fetch{Locator: b.Locator, Limit: 1}
	frame, _ := c.seal(f, func(st mailbox.Stamp) { f.Sign(b.owner, nil, st) })
	c.write(frame)
	eventually(t, "the answer to wait", func() bool { return s.replies.taken() == len(batch.Items[0].Envelope) })
	c.read()
	eventually(t, "it to be given back", func() bool { return s.replies.taken() == 0 })
}

// sink is a Tail that counts what is written, and may be made to wait.
type sink struct {
	wait    chan struct{} // nil: take all at once
	now     *atomic.Int64 // writes under way in all
	most    *atomic.Int64
	ended   atomic.Bool
	aborted chan struct{}
	once    sync.Once

	mu     sync.Mutex // guards what follows
	frames int
}

func (k *sink) Write(b []byte) (int, error) {
	n := k.now.Add(1)
	for m := k.most.Load(); n > m && !k.most.CompareAndSwap(m, n); m = k.most.Load() {
	}
	defer k.now.Add(-1)
	if k.wait != nil {
		select {
		case <-k.wait:
		case <-k.aborted:
		}
	}
	if k.ended.Load() {
		return 0, errReset
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frames++
	return len(b), nil
}

func (k *sink) Abort() {
	k.ended.Store(true)
	k.once.Do(func() { close(k.aborted) })
}

func (k *sink) Ended() bool { return k.ended.Load() }

func (k *sink) got() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.frames
}

// sinks subscribes n sinks to mailboxes that box names.
func (s *Swarm) sinks(t *testing.T, n int, wait chan struct{}, box func(int) *box) []*sink {
	t.Helper()
	var now, most atomic.Int64
	out := make([]*sink, n)
	for i := range out {
		b := box(i)
		out[i] = &sink{wait: wait, now: &now, most: &most, aborted: make(chan struct{})}
		if err := s.subs.add(out[i], &subscribing{req: &mailbox.Subscribe{Locator: b.Locator}, sealer: anySealer(t, s, b)}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// anySealer is a sealer of some request.
func anySealer(t *testing.T, s *Swarm, b *box) *mailbox.ReplySealer {
	t.Helper()
	cert := must(s.keys.current(s.cfg.Now()))
	frame, _, err := mailbox.SealRequest(rand.Reader, cert, s.cfg.Now(), &mailbox.Subscribe{Locator: b.Locator})
	if err != nil {
		t.Fatal(err)
	}
	_, sealer, err := s.keys.open(frame)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// TestStormOfPushesHasFewWorkers wakes very many subscribers at once.
func TestStormOfPushesHasFewWorkers(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	const count = 1000
	boxes := make([]*box, count/10)
	for i := range boxes {
		boxes[i] = newBox(w)
	}
	all := s.sinks(t, count, nil, func(i int) *box { return boxes[i%len(boxes)] })
	eventually(t, "all to be greeted", func() bool { return total(all) == count })
	goroutines := runtime.NumGoroutine()
	for _, b := range boxes {
		s.subs.notify(b.Address())
	}
	if n := runtime.NumGoroutine(); n > goroutines+maxPushers {
		t.Errorf("%d goroutines after a storm, %d before", n, goroutines)
	}
	eventually(t, "the workers to rest", func() bool {
		s.pushers.mu.Lock()
		defer s.pushers.mu.Unlock()
		return s.pushers.working == 0 && s.pushers.first == nil
	})
	if most := all[0].most.Load(); most > maxPushers {
		t.Errorf("%d writes at a time, at most %d may be", most, maxPushers)
	}
}

func total(all []*sink) (n int) {
	for _, k := range all {
		n += k.got()
	}
	return n
}

// TestSlowSubscribersHoldUpNobody lets more subscribers than there are workers
// take nothing: the others have what is theirs all the same.
func TestSlowSubscribersHoldUpNobody(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	never := make(chan struct{})
	slow := s.sinks(t, 3*maxPushers, never, func(int) *box { return newBox(w) })
	quick := s.sinks(t, 50, nil, func(int) *box { return newBox(w) })
	eventually(t, "the quick to be greeted", func() bool { return total(quick) == len(quick) })
	if n := total(slow); n != 0 {
		t.Errorf("%d frames went to who takes none", n)
	}
	s.subs.end(func(*subscription) bool { return true })
	eventually(t, "all to be freed", func() bool { return s.subs.len() == 0 })
}

// TestTooManySlowSubscribersAreCut has as many stall as may, and more.
func TestTooManySlowSubscribersAreCut(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	p := s.pushers
	never := make(chan struct{})
	slow := s.sinks(t, maxStalled+maxPushers, never, func(int) *box { return newBox(w) })
	eventually(t, "all places to be taken", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.stalled) == maxStalled && p.working == maxPushers
	})
	p.mu.Lock()
	p.stalled[0].since = time.Now().Add(-2 * stallShare) // it has stalled for long
	p.mu.Unlock()
	quick := s.sinks(t, 1, nil, func(int) *box { return newBox(w) })
	eventually(t, "the quick one's turn", func() bool { return total(quick) == 1 })
	cut := 0
	for _, k := range slow {
		if k.Ended() {
			cut++
		}
	}
	if cut != 1 {
		t.Errorf("%d were cut for one", cut)
	}
}

// TestPushesAreFair gives one subscriber much to take and another little: the
// little does not wait for all of the much.
func TestPushesAreFair(t *testing.T) {
	p := &pushers{s: &Swarm{ctx: context.Background()}}
	p.working = maxPushers // none runs by itself
	much, little := &subscription{}, &subscription{}
	p.kick([]*subscription{much, little})
	w := &pusher{p: p}
	p.mu.Lock()
	first := p.takeLocked()
	p.mu.Unlock()
	w.done(first, true) // there is more
	p.mu.Lock()
	second, third := p.takeLocked(), p.takeLocked()
	p.mu.Unlock()
	if first != much || second != little || third != much {
		t.Error("who has more to take is not put behind the others")
	}
	p.kick([]*subscription{third}) // while it is pushed to
	w.done(third, false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.takeLocked() != third {
		t.Error("what came during a push is not looked at")
	}
}
