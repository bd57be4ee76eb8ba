package relay

import (
	"sync"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// queue holds the cells that wait for one channel of a circuit. Who pushes
// never waits for the neighbour; a writer runs only while something waits.
type queue struct {
	c  *circuit
	ch channel

	mu      sync.Mutex // guards what follows
	waiting []*link.Batch
	cells   int // in waiting and in the writer's hand
	writing bool
	closed  bool
}

// push queues the batch, which is the queue's from then on. It destroys the
// circuit when too much waits.
func (q *queue) push(b *link.Batch) {
	if !q.accept(b) {
		return
	}
	if !q.c.account.add(link.BatchBytes) {
		q.c.relay.shed()
	}
}

// accept reports whether the queue holds one batch more than before.
func (q *queue) accept(b *link.Batch) (grown bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || b.Len() == 0 {
		b.Release()
		return false
	}
	if q.cells+b.Len() > q.c.relay.limits.MaxQueuedCells {
		b.Release()
		q.c.destroy(onion.ReasonLimit)
		return false
	}
	q.cells += b.Len()
	grown = q.append(b)
	if !q.writing {
		q.writing = q.c.spawn(q.drain)
	}
	return grown
}

// append fills the last waiting batch before it adds one, so that single cells
// don't hold a batch each.
func (q *queue) append(b *link.Batch) (grown bool) {
	if n := len(q.waiting); n > 0 {
		q.waiting[n-1].Take(b)
	}
	if b.Len() == 0 {
		b.Release()
		return false
	}
	q.waiting = append(q.waiting, b)
	return true
}

// drain writes what waits, and ends when nothing does.
func (q *queue) drain() {
	for {
		b := q.take()
		if b == nil {
			return
		}
		err := q.ch.WriteBatch(b)
		q.written(b)
		if err != nil {
			q.c.destroy(reasonOf(err))
			return
		}
	}
}

func (q *queue) take() *link.Batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) == 0 {
		q.writing = false
		return nil
	}
	b := q.waiting[0]
	q.waiting[0] = nil
	if q.waiting = q.waiting[1:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	return b
}

func (q *queue) written(b *link.Batch) {
	n := b.Len()
	b.Release()
	q.c.account.add(-link.BatchBytes)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cells -= n
}

// close drops what waits and refuses what comes.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, b := range q.waiting {
		b.Release()
	}
	q.waiting = nil
}
