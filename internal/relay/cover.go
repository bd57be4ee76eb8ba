package relay

import (
	"sync"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/padding"
)

// cover makes the dummies toward a client that the client asked this hop for
// (spec/padding.md §5.4). It runs on a timer, and ends with its circuit.
type cover struct {
	mu    sync.Mutex // guards what follows
	mean  time.Duration
	train int
	timer *time.Timer
	burst padding.Burst // of the data that this hop sent
	once  time.Time     // when a single train was last asked for and sent
	over  bool
}

// handleCover takes a client's wish. A guard is never asked: whoever is next to
// the client knows all of its cells.
func (c *circuit) handleCover(m onion.Message) error {
	mean, train, err := m.Coverage()
	if err != nil {
		return err
	}
	if !c.prevIsNode {
		return errProtocol
	}
	if mean == 0 && train > 0 {
		return c.answer(train)
	}
	return c.cover.run(c, mean, train)
}

// answer sends a single train, at most one within MinMean.
func (c *circuit) answer(train int) error {
	now := time.Now()
	c.cover.mu.Lock()
	soon := now.Sub(c.cover.once) < padding.MinMean
	if !soon {
		c.cover.once = now
	}
	c.cover.mu.Unlock()
	if soon {
		return nil
	}
	return c.sender.drop(train)
}

// run makes trains from now on, or none if mean is zero.
func (v *cover) run(c *circuit, mean time.Duration, train int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mean, v.train = mean, train
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	return v.armLocked(c)
}

func (v *cover) armLocked(c *circuit) error {
	if v.mean == 0 || v.over {
		return nil
	}
	gap, err := padding.Gap(c.relay.cfg.Rand, v.mean)
	if err != nil {
		return err
	}
	if v.timer == nil {
		v.timer = time.AfterFunc(gap, func() { c.spawn(c.coverDue) })
		return nil
	}
	v.timer.Reset(gap)
	return nil
}

// coverDue sends a train, unless a message has just taken its place, and waits
// for the next.
func (c *circuit) coverDue() {
	train, err := c.cover.next(c)
	if err == nil && train > 0 {
		err = c.sender.drop(train)
	}
	if err != nil {
		c.destroy(onion.ReasonInternal)
	}
}

// next returns how long a train is due, and arms the timer again.
func (v *cover) next(c *circuit) (train int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mean == 0 || v.over {
		return 0, nil // the wish changed while the timer ran out
	}
	if train = v.train; v.burst.Take() {
		train = 0
	}
	return train, v.armLocked(c)
}

// sent counts cells of data that this hop made itself. It cannot tell what
// others made, nor may it.
func (v *cover) sent(cells int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mean > 0 {
		v.burst.Sent(time.Now(), cells, v.train)
	}
}

func (v *cover) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	if v.timer != nil {
		v.timer.Stop()
	}
}

// drop queues a train of DROP cells, in one piece as a message's cells would be.
// While anything waits for the client there is none: padding never delays nor
// crowds out what means something.
func (s *sender) drop(train int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.c.toPrev.empty() {
		return nil
	}
	b, now := link.NewBatch(), time.Now()
	for range train {
		if err := s.packer.Add(onion.Drop()); err != nil {
			b.Release()
			return err
		}
		if err := s.cellLocked(b.Next(), now); err != nil {
			b.Release()
			return err
		}
	}
	s.c.toPrev.push(b)
	return nil
}

// empty reports whether nothing waits for the neighbour, nor is being written.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cells == 0
}
