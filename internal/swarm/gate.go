package swarm

import (
	"context"
	"slices"
	"sync"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// gate admits clients' requests to work. It stands before all that costs a
// member anything, the opening of the seal above all, and so cannot know who
// asks, only which node brought it: the exit (spec/swarm.md §5.13).
//
// Among the exits that have requests waiting it goes by what each had (start-time
// fair queueing, Goyal, Vin and Cheng 1996), so that one that floods waits for
// itself, while one that is alone gets all there is. How long a request may wait
// depends on whether its exit's queue stands or has just arisen (controlled
// delay, Nichols and Jacobson 2012): what nobody waits for any more is not done.
type gate struct {
	// mu guards what follows.
	mu      sync.Mutex
	free    int    // places in work
	clock   uint64 // the turn of what entered last
	exits   map[identity.NodeID]*exitQueue
	waiting int // requests, and their bytes
	bytes   int
	entered uint64 // requests that came,
	delayed uint64 // and those of them that found no place free
}

// exitQueue is an exit with requests in work or waiting.
type exitQueue struct {
	id     identity.NodeID
	queue  []*entrant
	work   int       // in work
	next   uint64    // when, by the gate's clock, its next request's turn is
	stands time.Time // since when something waits
}

// entrant is a request that waits.
type entrant struct {
	size  int
	since time.Time
	turn  chan bool // takes one value: whether it may enter
}

func newGate(places int) *gate {
	return &gate{free: places, exits: make(map[identity.NodeID]*exitQueue)}
}

// enter waits for a place for a request of size bytes that an exit brought.
// Who enters calls leave, once or more. It returns ErrBusy when the request had better come again.
func (g *gate) enter(ctx context.Context, exit identity.NodeID, size int) (leave func(), err error) {
	g.mu.Lock()
	g.entered++
	q := g.exits[exit]
	if q == nil {
		q = &exitQueue{id: exit}
		g.exits[exit] = q
	}
	if g.waiting == 0 && g.free > 0 && q.work < maxExitWork {
		g.begin(q, size)
		g.mu.Unlock()
		return sync.OnceFunc(func() { g.leave(q) }), nil
	}
	if g.free == 0 {
		g.delayed++ // by others, and not by its exit's own share
	}
	e := g.wait(q, size)
	g.pass()
	g.mu.Unlock()
	patience := time.NewTimer(maxWait)
	defer patience.Stop()
	select {
	case in := <-e.turn:
		if in {
			return sync.OnceFunc(func() { g.leave(q) }), nil
		}
	case <-patience.C:
		g.giveUp(q, e)
	case <-ctx.Done():
		g.giveUp(q, e)
	}
	return nil, mailbox.ErrBusy
}

// begin counts a request as in work.
func (g *gate) begin(q *exitQueue, size int) {
	g.clock = max(g.clock, q.next)
	q.next = g.clock + requestCost(size)
	q.work++
	g.free--
}

// requestCost is what a request counts in the turns of its exit: the opening of
// its seal, and its bytes.
func requestCost(size int) uint64 { return 1 + uint64(size/costBytes) }

// wait queues a request. When too much waits, the exit with the most loses the
// last that it brought, which may be this one.
func (g *gate) wait(q *exitQueue, size int) *entrant {
	now := time.Now()
	if len(q.queue) == 0 {
		q.stands = now
	}
	e := &entrant{size: size, since: now, turn: make(chan bool, 1)}
	q.queue = append(q.queue, e)
	g.waiting++
	g.bytes += size
	for g.waiting > maxWaiting || g.bytes > maxWaitingBytes {
		longest := q
		for _, other := range g.exits {
			if len(other.queue) > len(longest.queue) {
				longest = other
			}
		}
		g.remove(longest, len(longest.queue)-1).turn <- false
	}
	return e
}

// remove takes the i-th request out of a queue.
func (g *gate) remove(q *exitQueue, i int) *entrant {
	e := q.queue[i]
	q.queue = slices.Delete(q.queue, i, i+1)
	g.waiting--
	g.bytes -= e.size
	g.forget(q)
	return e
}

// forget drops an exit that has nothing here. Its clock goes with it, so that
// one that comes back starts with the others.
func (g *gate) forget(q *exitQueue) {
	if q.work == 0 && len(q.queue) == 0 {
		delete(g.exits, q.id)
	}
}

// load returns how many requests came since the start, and how many of them
// found no place free.
func (g *gate) load() (entered, delayed uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.entered, g.delayed
}

func (g *gate) leave(q *exitQueue) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q.work--
	g.free++
	g.pass()
	g.forget(q)
}

// giveUp takes back a request that waits no longer, or the place that it got in
// this moment.
func (g *gate) giveUp(q *exitQueue, e *entrant) {
	g.mu.Lock()
	i := slices.Index(q.queue, e)
	if i >= 0 {
		g.remove(q, i)
	}
	g.mu.Unlock()
	if i < 0 && <-e.turn {
		g.leave(q)
	}
}

// pass gives free places to those whose turn it is.
func (g *gate) pass() {
	now := time.Now()
	for g.free > 0 {
		q := g.first()
		if q == nil {
			return
		}
		limit := maxWait
		if now.Sub(q.stands) > standing {
			limit = standingWait
		}
		work := now.Sub(q.queue[0].since) <= limit
		if work {
			g.begin(q, q.queue[0].size)
		}
		g.remove(q, 0).turn <- work
	}
}

// first returns the exit whose turn it is among those that wait and may have
// more in work, or nil.
func (g *gate) first() (q *exitQueue) {
	for _, other := range g.exits {
		if len(other.queue) > 0 && other.work < maxExitWork && (q == nil || other.next < q.next) {
			q = other
		}
	}
	return q
}

// crowds bounds what is in work for each mailbox, so that a flood at one leaves
// room for the others.
type crowds struct {
	mu     sync.Mutex // guards inWork
	inWork map[mailbox.Address]int
}

func newCrowds() *crowds { return &crowds{inWork: make(map[mailbox.Address]int)} }

// enter reports whether one more request may be in work for a mailbox. Who
// enters leaves.
func (c *crowds) enter(a mailbox.Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inWork[a] >= maxBoxWork {
		return false
	}
	c.inWork[a]++
	return true
}

func (c *crowds) leave(a mailbox.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inWork[a]--; c.inWork[a] <= 0 {
		delete(c.inWork, a)
	}
}
