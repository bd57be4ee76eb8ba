package circuit

import (
	"errors"
	"time"

	"sotto/internal/directory"
	"sotto/internal/onion"
)

// leavePause is how long a node that said that it is going down is left alone:
// longer than it drains, and enough to restart it.
const leavePause = time.Minute

// errLeaving is why a circuit ends after a node of it said that it goes down.
var errLeaving = errors.New("a relay is going down")

// leavingError says which hop goes down while a circuit is being built.
type leavingError struct{ hop int }

func (e *leavingError) Error() string { return errLeaving.Error() }

// checkTruncated takes a TRUNCATED from hop (spec/circuit.md §5.11). Only one
// that says that the hop is going down is in order.
func checkTruncated(hop int, m onion.Message) error {
	why, err := m.Reason()
	if err != nil || m.Stream != 0 || why != onion.ReasonShutdown {
		return unexpected(hop, m)
	}
	return nil
}

// truncatedLocked notes that a hop is going down, once. The circuit goes on;
// the Manager retires it.
func (c *circuit) truncatedLocked(hop int, m onion.Message) error {
	if err := checkTruncated(hop, m); err != nil {
		return err
	}
	if c.leaving.CompareAndSwap(0, int32(hop)+1) {
		c.replan()
	}
	return nil
}

// streamGoneLocked lets a relay that is going down go as soon as it can.
func (c *circuit) streamGoneLocked() {
	if len(c.streams) == 0 && c.leaving.Load() != 0 {
		c.replan()
	}
}

// noteLeavingLocked retires c if a node of it is going down, and leaves the
// node out for a while. That is nobody's failure.
func (m *Manager) noteLeavingLocked(c *circuit, now time.Time) {
	hop := int(c.leaving.Load()) - 1
	if hop < 0 || c.left {
		return
	}
	c.left = true
	c.retireLocked()
	node := c.nodes()[hop]
	if _, known := m.avoid[node.ID]; !known {
		m.emit(EventRetired, c.id, "The relay of %s is going down. Paths over it are being replaced.", node.Operator)
	}
	m.leaveOutLocked(node, hop, now)
}

func (c *circuit) nodes() [hops]directory.Node {
	return [hops]directory.Node{c.path.Guard, c.path.Middle, c.path.Exit}
}

// leaveOutLocked keeps a node that is going down out of new paths, and has the
// circuits over it replaced.
func (m *Manager) leaveOutLocked(node directory.Node, hop int, now time.Time) {
	m.avoidLocked(node.ID, now)
	if hop == 0 {
		m.guards.pause(node.ID, now.Add(leavePause))
	}
	for _, c := range m.circuits {
		for i, n := range c.nodes() {
			if n.ID == node.ID {
				c.leaving.CompareAndSwap(0, int32(i)+1)
			}
		}
	}
	m.kickMaintain() // for those that this round has passed
}

// leftBuildLocked reports whether a build failed only because a node is going
// down, and leaves that node out. A guard that says so once it has seen where
// the path leads has failed it all the same: the word costs it nothing.
func (m *Manager) leftBuildLocked(at *buildError, now time.Time) bool {
	var leaving *leavingError
	var refused *ReasonError
	switch {
	case errors.As(at.err, &leaving):
		if leaving.hop == 0 {
			m.builtLocked(at.node, false)
		}
	case at.hop == 0 && errors.As(at.err, &refused) && refused.Reason == onion.ReasonShutdown:
	default:
		return false
	}
	m.leaveOutLocked(at.node, at.hop, now)
	return true
}

// endOf is why a retired circuit without streams is ended.
func (c *circuit) endOf() error {
	switch {
	case c.left:
		return errLeaving
	case c.unlisted:
		return errUnlisted
	}
	return errAge
}
