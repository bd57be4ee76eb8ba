package client

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"sotto/internal/mailbox"
)

const (
	// maxRest bounds for how long a member is left alone that asks for it: more
	// than an honest one asks for (spec/swarm.md §3), and less than a request
	// takes that nobody answers. An exit can ask for it as well, and gains
	// nothing over withholding the request.
	maxRest = 10 * time.Second
	// maxRests bounds what is remembered of it: members that are asked for a few
	// hundred mailboxes.
	maxRests = 1024
)

// errResting says that a member has asked to be left alone for now.
var errResting = fmt.Errorf("client: a member asked to be left alone: %w", mailbox.ErrBusy)

// rests remembers which members are not to be asked before when, for each
// mailbox apart: what a member says about one mailbox must show in no other
// (spec/client.md §5.11).
type rests struct {
	mu    sync.Mutex // guards until
	until map[keyPlace]time.Time
}

// note takes down what a refusal asks for, if it is one that does.
func (r *rests) note(at keyPlace, err error, now time.Time) {
	var no *mailbox.Failure
	if !errors.As(err, &no) || no.RetryAfter == 0 {
		return
	}
	rest := maxRest
	if no.RetryAfter < uint32(maxRest/time.Second) {
		rest = time.Duration(no.RetryAfter) * time.Second
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.until) >= maxRests {
		r.purgeLocked(now)
	}
	r.until[at] = now.Add(rest)
}

// purgeLocked makes room: what is over goes, and else any.
func (r *rests) purgeLocked(now time.Time) {
	for at, until := range r.until {
		if !now.Before(until) {
			delete(r.until, at)
		}
	}
	for at := range r.until {
		if len(r.until) < maxRests {
			return
		}
		delete(r.until, at)
	}
}

// left is how long a member is still to be left alone.
func (r *rests) left(at keyPlace, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A clock that was set back does not prolong it.
	return min(max(r.until[at].Sub(now), 0), maxRest)
}

// rest is how long none of a mailbox's members wants to be asked.
func (s *swarms) rest(a mailbox.Address) time.Duration {
	now := s.now()
	least := maxRest
	nodes := s.dir.Current().SwarmOf(a)
	for _, n := range nodes {
		least = min(least, s.rests.left(keyPlace{a, n.ID}, now))
	}
	if len(nodes) == 0 {
		return 0
	}
	return least
}
