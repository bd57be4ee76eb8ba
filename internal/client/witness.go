package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// Finding out who keeps messages back (spec/client.md §5.12).
const (
	// maxSightings bounds what waits for comparison of one mailbox: more than
	// arrives in that time, and none takes the place of another's.
	maxSightings = 64
	// witnessPages bounds what is fetched to find one envelope.
	witnessPages = 4
	// auditEvery is how often each mailbox is read at a third member, half of it
	// more or less: several times in a period, so that what both of the others
	// keep back is hours late at most, whatever else the account reads.
	auditEvery = 6 * time.Hour
)

// witness compares what the members bring that one mailbox is subscribed at.
type witness struct {
	due signal
	new signal // a watch began

	mu        sync.Mutex // guards what follows
	watches   map[watchKey]*watch
	past      map[watchKey]bool // mailboxes that two stood at till their end
	sightings map[mailbox.Digest]*sighting
	looking   map[watchKey]bool // mailboxes of which one is looked for now
	faults    map[identity.NodeID]*fault
	audits    map[watchKey]time.Time // when each watched mailbox is audited next
	blames    map[keyPlace]*blame
}

func newWitness() witness {
	return witness{
		due:       newSignal(),
		new:       newSignal(),
		watches:   map[watchKey]*watch{},
		past:      map[watchKey]bool{},
		sightings: map[mailbox.Digest]*sighting{},
		looking:   map[watchKey]bool{},
		faults:    map[identity.NodeID]*fault{},
		audits:    map[watchKey]time.Time{},
		blames:    map[keyPlace]*blame{},
	}
}

// sighting is an envelope that one member has brought and others have not yet.
type sighting struct {
	in      inbox
	period  identity.Period
	digest  mailbox.Digest
	by      identity.NodeID
	due     time.Time
	missing []*subscription // that should bring it too
	again   bool            // they lacked it when they were asked first
}

func (s *sighting) key() watchKey { return watchKey{s.in.id(), s.period} }

// grace is how long after one member has brought an envelope the others have to
// have brought it.
func (c *Client) grace() time.Duration { return c.random(c.timing.grace*3/4, c.timing.grace*5/4) }

// saw notes an envelope that has come, fresh if nobody had brought it before. It
// reports whether one has come that two subscriptions should have brought before
// their end.
func (w *witness) saw(c *Client, a arrival, digest mailbox.Digest, fresh bool) (late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !fresh {
		if s := w.sightings[digest]; s != nil && a.pushed {
			s.missing = slices.DeleteFunc(s.missing, func(x *subscription) bool { return x.node == a.node })
			if len(s.missing) == 0 {
				delete(w.sightings, digest)
				c.wakeDeletes()
			}
		}
		return false
	}
	key := watchKey{a.in.id(), a.period}
	watch := w.watches[key]
	if watch == nil {
		return !a.pushed && w.past[key]
	}
	missing := watch.others(a.node)
	if len(missing) == 0 || w.waitingLocked(key) >= maxSightings {
		return false
	}
	w.sightings[digest] = &sighting{
		in: a.in, period: a.period, digest: digest, by: a.node, missing: missing, due: time.Now().Add(c.grace()),
	}
	w.due.kick()
	return false
}

// waitingLocked counts what waits for comparison of a mailbox.
func (w *witness) waitingLocked(key watchKey) (n int) {
	for _, s := range w.sightings {
		if s.key() == key {
			n++
		}
	}
	return n
}

// others returns the subscriptions that are to bring, too, what node has.
func (w *watch) others(node identity.NodeID) (out []*subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sub := range w.stands {
		if sub != nil && sub.node != node && sub.stands() {
			out = append(out, sub)
		}
	}
	return out
}

// stand notes the subscription that stands now, or nil.
func (w *watch) stand(replica int, sub *subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stands[replica] = sub
}

// pending reports whether an envelope is still to be looked for: until then it
// is not deleted, since its absence would show nothing.
func (w *witness) pending(digest mailbox.Digest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sightings[digest]
	return s != nil && slices.ContainsFunc(s.missing, (*subscription).stands)
}

// watching notes a watch while it lasts, and afterwards whether two stood at its
// end.
func (w *witness) watching(key watchKey, watch *watch) (ended func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watches[key] = watch
	w.new.kick()
	return func() {
		watch.mu.Lock()
		both := !slices.Contains(watch.stands[:], nil)
		watch.mu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watches, key)
		delete(w.audits, key)
		if both {
			w.past[key] = true
		}
	}
}

// drained forgets a mailbox that has been read to its end.
func (w *witness) drained(key watchKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.past, key)
}

// next returns the sighting that is due, or how long until one is; none is
// negative. Of a mailbox of which one is looked for it returns no other until
// looked ends that.
func (w *witness) next() (*sighting, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first *sighting
	for _, s := range w.sightings {
		if w.looking[s.key()] {
			continue
		}
		if first == nil || s.due.Before(first.due) {
			first = s
		}
	}
	if first == nil {
		return nil, -1
	}
	if left := time.Until(first.due); left > 0 {
		return nil, left
	}
	w.looking[first.key()] = true
	return first, 0
}

// witnessLoop looks for what did not come, of each mailbox one after the other
// and of all side by side: a member that lets one wait must not see it in
// another.
func (c *Client) witnessLoop() {
	for c.ctx.Err() == nil {
		s, left := c.witness.next()
		if s == nil {
			if !c.wait(c.witness.due, left) {
				return
			}
			continue
		}
		c.goDo(func() {
			c.witness.looked(s, c.lookFor(s), c.random(c.timing.behind, c.timing.behind+c.timing.grace))
			c.witness.due.kick()
			c.wakeDeletes() // it may be deleted now
		})
	}
}

// lookFor asks each member that has not brought an envelope for it. One that
// has it kept it back. One that lacks it is at fault only if a majority of the
// swarm has it, since a single member, or a writer, could say so of anything,
// and if it is so again when a member that was left out must have caught up:
// lacking is for whom to look then.
func (c *Client) lookFor(s *sighting) (lacking []*subscription) {
	c.witness.mu.Lock()
	missing := slices.Clone(s.missing)
	c.witness.mu.Unlock()
	for _, sub := range missing {
		if !sub.stands() {
			continue
		}
		has, err := c.hasEnvelope(s, sub.node)
		if err != nil {
			c.leave(sub)
			continue
		}
		if !has {
			if !c.majorityHas(s, sub.node) {
				continue
			}
			if !s.again {
				lacking = append(lacking, sub)
				continue
			}
		}
		// It may have had it for a moment only, and its push be on its way.
		if c.sleep(c.grace()) && c.witness.lacks(s, sub) && sub.stands() {
			c.blame(sub)
		}
	}
	return lacking
}

// leave ends a subscription at a member that neither brings an envelope nor
// answers when it is asked for it: nothing is held against it, which may be busy
// or away, but its mailbox is read elsewhere.
func (c *Client) leave(sub *subscription) {
	if c.ctx.Err() == nil {
		c.avoid(keyPlace{sub.box, sub.node})
		sub.close()
	}
}

// looked ends a comparison, or has it made again after a while for those that
// lacked the envelope and have not brought it meanwhile.
func (w *witness) looked(s *sighting, lacking []*subscription, after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.missing = slices.DeleteFunc(s.missing, func(x *subscription) bool { return !slices.Contains(lacking, x) })
	delete(w.looking, s.key())
	s.again, s.due = true, time.Now().Add(after)
	if len(s.missing) == 0 {
		delete(w.sightings, s.digest)
	}
}

// lacks reports whether a subscription has still not brought an envelope.
func (w *witness) lacks(s *sighting, sub *subscription) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(s.missing, sub)
}

// majorityHas asks the others until a majority of the swarm, who brought it
// included, has shown the envelope.
func (c *Client) majorityHas(s *sighting, suspect identity.NodeID) bool {
	loc, _, _, err := s.in.box(s.period)
	if err != nil {
		return false
	}
	nodes := c.dir.Current().SwarmOf(loc.Address())
	count := 1
	for _, n := range nodes {
		if n.ID == s.by || n.ID == suspect {
			continue
		}
		if has, err := c.hasEnvelope(s, n.ID); err == nil && has {
			count++
		}
	}
	return count >= majority(len(nodes))
}

// hasEnvelope fetches at a member until an envelope is found.
func (c *Client) hasEnvelope(s *sighting, node identity.NodeID) (has bool, _ error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timing.attempt)
	defer cancel()
	t, _, err := c.readTarget(s.in, s.period, 0)
	if err != nil {
		return false, err
	}
	key, err := s.in.credential(s.period)
	if err != nil {
		return false, err
	}
	from, err := c.cursor(ctx, t.loc.Address(), node)
	if err != nil {
		return false, err
	}
	pages := 0
	err = c.fetch(ctx, t, key, node, from, func(b *mailbox.Batch) error {
		pages++
		for _, it := range b.Items {
			has = has || mailbox.EnvelopeDigest(t.loc.Address(), it.Envelope) == s.digest
		}
		if has || pages >= witnessPages {
			return errEnough
		}
		return nil
	})
	if has || pages >= witnessPages {
		err = nil
	}
	c.report(ctx, t.at(node), err)
	return has, err
}

// auditLoop reads each mailbox, at random moments of its own, at a member that
// it is not subscribed at: what both of the others keep back comes to light.
func (c *Client) auditLoop() {
	for {
		key, left := c.nextAudit()
		if left == 0 {
			c.audit(key)
		} else if !c.wait(c.witness.new, left) {
			return
		}
	}
}

// nextAudit returns the mailbox whose audit is due, and draws when its next one
// is, or how long until one is due; negative if nothing is watched.
func (c *Client) nextAudit() (first watchKey, left time.Duration) {
	w := &c.witness
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watches) == 0 {
		return first, -1
	}
	now := time.Now()
	var at time.Time
	for key := range w.watches {
		if _, ok := w.audits[key]; !ok {
			w.audits[key] = now.Add(c.random(0, auditEvery))
		}
		if due := w.audits[key]; at.IsZero() || due.Before(at) {
			first, at = key, due
		}
	}
	if left = at.Sub(now); left > 0 {
		return first, left
	}
	w.audits[first] = now.Add(c.random(auditEvery/2, auditEvery*3/2))
	return first, 0
}

func (c *Client) audit(key watchKey) {
	in := c.inboxOf(key.inbox)
	if in == nil {
		return
	}
	loc, _, _, err := in.box(key.period)
	if err != nil {
		return
	}
	subscribed := c.witness.subscribed(key)
	thirds := slices.DeleteFunc(c.dir.Current().SwarmOf(loc.Address()), func(n directory.Node) bool {
		return slices.Contains(subscribed, n.ID)
	})
	if len(thirds) == 0 {
		return
	}
	n := thirds[c.below(len(thirds))]
	ctx, cancel := context.WithTimeout(c.ctx, c.timing.attempt)
	defer cancel()
	c.report(ctx, keyPlace{loc.Address(), n.ID}, c.drainAt(ctx, in, key.period, 0, n))
}

// below draws a number below n.
func (c *Client) below(n int) int { return int(c.random(0, time.Duration(n))) % n }

// subscribed returns the members that a mailbox is subscribed at, or about to be.
func (w *witness) subscribed(key watchKey) []identity.NodeID {
	w.mu.Lock()
	watch := w.watches[key]
	w.mu.Unlock()
	if watch == nil {
		return nil
	}
	watch.mu.Lock()
	defer watch.mu.Unlock()
	return slices.Clone(watch.at[:])
}
