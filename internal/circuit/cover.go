package circuit

import (
	"sync"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/padding"
)

// middleHop and exitHop are where dummies end and begin; never at the guard,
// which knows all cells of its client (spec/padding.md §5.3).
const middleHop = 1

const (
	// tellWithin is over which time hops are told of another rate, each at a
	// moment of its own: told together, they could be joined by it.
	tellWithin = 20 * time.Second
	// maxTrains bounds the trains that wait on one circuit: a link that takes
	// no cells needs no dummies.
	maxTrains = 4
)

// cover makes the dummies away from the client, and has hops make those toward
// it (spec/padding.md §5.3). coverLoop runs it.
type cover struct {
	kick chan struct{} // holds one: the level, or what is in use, changed

	mu        sync.Mutex // guards what follows
	level     padding.Level
	chatUntil time.Time
	burst     padding.Burst // of cells to the guard in use
}

// SetCover sets the level of cover traffic, from now on.
func (m *Manager) SetCover(l padding.Level) {
	m.cover.mu.Lock()
	m.cover.level = l
	m.cover.mu.Unlock()
	m.cover.wake()
}

// Chatting says that a conversation is in use at this moment.
func (m *Manager) Chatting() {
	v := &m.cover
	now := m.cfg.Now()
	v.mu.Lock()
	already := now.Before(v.chatUntil)
	v.chatUntil = now.Add(padding.ChatTime)
	v.mu.Unlock()
	if !already {
		v.wake()
	}
}

func (v *cover) wake() {
	select {
	case v.kick <- struct{}{}:
	default:
	}
}

// mean returns the mean time between trains of one direction, and for how long
// that holds at most; 0 is for ever.
func (v *cover) mean(now time.Time) (mean, holds time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	left := v.chatUntil.Sub(now)
	if v.level != padding.Active || left <= 0 {
		return v.level.Mean(false), 0
	}
	return v.level.Mean(true), left
}

// wrote counts cells that a circuit has sent, dummies excepted.
func (m *Manager) wrote(c *circuit, cells int) {
	m.cover.mu.Lock()
	defer m.cover.mu.Unlock()
	if c.carries.Load() {
		m.cover.burst.Sent(m.cfg.Now(), cells, padding.PutTrain)
	}
}

// replaced reports whether real traffic has taken the next dummy's place.
func (v *cover) replaced() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.burst.Take()
}

// coverLoop sends dummies and tells hops until the Manager is closed.
func (m *Manager) coverLoop() {
	var last time.Duration
	var due time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := m.cfg.Now()
		mean, holds := m.cover.mean(now)
		changed, wait := m.tellHops(mean, now)
		var err error
		switch {
		case mean != last:
			due, err = m.nextDummy(now, mean)
			last = mean
		case mean > 0 && !now.Before(due):
			if !m.cover.replaced() {
				err = m.sendDummy()
			}
			if err == nil {
				due, err = m.nextDummy(now, mean)
			}
		}
		if err != nil {
			m.cfg.Logger.Error("circuit: no randomness for cover traffic", "error", err)
			return
		}
		if mean > 0 {
			wait = min(wait, due.Sub(now))
		}
		if holds > 0 {
			wait = min(wait, holds)
		}
		timer.Reset(max(wait, 0))
		select {
		case <-timer.C:
		case <-changed:
		case <-m.cover.kick:
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *Manager) nextDummy(now time.Time, mean time.Duration) (time.Time, error) {
	gap, err := padding.Gap(m.rand, max(mean, time.Millisecond))
	return now.Add(gap), err
}

// tellHops sees to it that the hops of each circuit know at which rate they are
// to make dummies. changed is closed when circuits come or go; wait is when to
// look again.
func (m *Manager) tellHops(mean time.Duration, now time.Time) (changed <-chan struct{}, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = housekeeping
	receiving := len(m.carriersLocked(true))
	for _, c := range m.circuits {
		want := time.Duration(0)
		if c.carries.Load() && c.vanguard {
			want = padding.Share(mean, receiving)
		}
		if want == c.told || c.dead() {
			c.tellAt = time.Time{}
			continue
		}
		if c.tellAt.IsZero() {
			c.tellAt = now.Add(m.within(tellWithin))
		}
		if left := c.tellAt.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		c.told, c.tellAt = want, time.Time{}
		c.coverFrom(want)
	}
	return m.changed, wait
}

// within draws a moment of d in milliseconds.
func (m *Manager) within(d time.Duration) time.Duration {
	ms, err := padding.Pick(m.rand, int(d.Milliseconds()))
	if err != nil {
		return d
	}
	return time.Duration(ms) * time.Millisecond
}

// carriersLocked returns the circuits that stand over the guard in use, and
// marks them as such: those for receiving, or the others. The guard knows by
// their middles which are which, and no message goes the other way.
func (m *Manager) carriersLocked(receiving bool) []*circuit {
	var out []*circuit
	for _, c := range m.circuits {
		carries := c.path.Guard.ID == m.inUse && !c.dead()
		c.carries.Store(carries)
		if carries && c.vanguard == receiving {
			out = append(out, c)
		}
	}
	return out
}

// sendDummy sends a train over a circuit and to a hop drawn by lot, which
// answers as a member answers a put.
func (m *Manager) sendDummy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	carriers := m.carriersLocked(false)
	if len(carriers) == 0 {
		return nil
	}
	i, err := padding.Pick(m.rand, len(carriers))
	if err != nil {
		return err
	}
	far, err := padding.Pick(m.rand, 2)
	if err != nil {
		return err
	}
	// As often as the put's cells would bring an answer's SENDME with it.
	sendme, err := padding.Pick(m.rand, onion.CircuitStep)
	if err != nil {
		return err
	}
	answer := padding.AnswerTrain
	if sendme < padding.PutTrain {
		answer++
	}
	carriers[i].dummy(middleHop+far, answer)
	return nil
}

// train is cells for a hop: DROPs, and in the last a COVER if there is one.
type train struct {
	hop, cells int
	cover      *onion.Message
}

// dummy queues a train that looks like a put, and asks for one that looks like
// its answer. While data waits to be sent, that covers enough.
func (c *circuit) dummy(hop, answer int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) > 0 {
		return
	}
	m := onion.Cover(0, answer)
	if c.trainLocked(train{hop, padding.PutTrain, &m}) {
		c.answers[hop] = answer
	}
}

// coverFrom tells middle and exit to make trains that look like pushes.
func (c *circuit) coverFrom(mean time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	length := padding.PushTrain
	if mean == 0 {
		length = 0
	}
	m := onion.Cover(mean, length)
	for hop := middleHop; hop <= exitHop; hop++ {
		c.trainLocked(train{hop, 1, &m})
	}
}

func (c *circuit) trainLocked(t train) bool {
	if c.err != nil || len(c.trains) >= maxTrains {
		return false
	}
	c.trains = append(c.trains, t)
	c.wakeWriter()
	return true
}

// droppedLocked takes a DROP of a hop. After an answer comes what a client says
// when a put is done, and after a window's worth of pushes cells in place
// of SENDMEs. Each hop's are counted by themselves: a middle that brought a
// common count near its end would see by our next cell whether the exit's next
// was a DROP.
func (c *circuit) droppedLocked(hop int, m onion.Message) error {
	if hop < middleHop {
		return unexpected(hop, m)
	}
	if err := m.CheckDrop(); err != nil {
		return err
	}
	if c.answers[hop] > 0 {
		if c.answers[hop]--; c.answers[hop] == 0 {
			c.trainLocked(train{hop, padding.EndTrain, nil})
		}
	} else if c.dropped[hop]++; c.dropped[hop]%onion.CircuitStep == 0 {
		c.trainLocked(train{hop, padding.SendmeTrain, nil})
	}
	return nil
}

// fillCover packs and seals the next train that waits, in one batch as a
// message would be.
func (c *circuit) fillCover(b *link.Batch) error {
	c.mu.Lock()
	if len(c.trains) == 0 || c.err != nil {
		c.mu.Unlock()
		return nil
	}
	t := c.trains[0]
	c.trains = c.trains[1:]
	c.mu.Unlock()
	var p onion.Packer
	for i := range t.cells {
		m := onion.Drop()
		if i == t.cells-1 && t.cover != nil {
			m = *t.cover
		}
		if err := p.Add(m); err != nil {
			return err
		}
		cell := b.Next()
		p.Next(cell.Payload())
		cell.SetHeader(c.ch.CircID(), onion.CmdRelay)
		if _, err := c.onion.Seal(t.hop, cell, cell.Payload()); err != nil {
			return err
		}
	}
	return nil
}
