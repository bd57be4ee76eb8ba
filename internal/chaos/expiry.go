package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"sotto/internal/faults"
	"sotto/internal/mailbox"
)

const (
	// canaries is how many envelopes of each swarm are looked for in files: of
	// each fate as many.
	canaries = 30
	// shortLife is how long those live that expire.
	shortLife = 10 * time.Minute
	// goneAfter is the documented time from an envelope's deletion or expiry to
	// the end of its bytes (spec/swarm.md §3: a minute to the next look, and ten
	// to the next purge).
	goneAfter = 11 * time.Minute
	// searchAgain is how often files are looked through.
	searchAgain = 2 * time.Second
)

// Expiry is what members' files held of envelopes. A copy is one envelope at
// one member.
type Expiry struct {
	Copies  int `json:"copies"`  // found while they lived: the search works
	Missing int `json:"missing"` // not found although they lived
	Deleted int `json:"deleted"` // copies whose deletion was acknowledged
	Expired int `json:"expired"` // copies whose time was over
	Left    int `json:"left"`    // of these two, found too late; or the others, found no more
	// After is for how many seconds they were found beyond the documented time,
	// by which the clocks jumped: nodes look at their clocks each minute.
	After float64 `json:"after_s"`
}

func (e Expiry) clean() bool { return e.Missing+e.Left == 0 }

// fate is what becomes of a canary.
type fate int

const (
	lives fate = iota
	deleted
	expires
	fates
)

// canary is an envelope whose bytes are looked for.
type canary struct {
	name    int // of the search
	members []int
	fate    fate
}

// fillRandom fills a seed.
func fillRandom(b []byte) {
	_, _ = rand.Read(b) // never fails
}

// expiry puts envelopes into the healthy network and looks for their bytes in
// the files of all nodes: all are at all members. Some are deleted, some expire,
// and those are gone when the clocks have gone on by the documented time.
func (w *world) expiry(ctx context.Context) (e Expiry, err error) {
	n := newNeedles()
	var all []*canary
	for i := range w.swarms {
		some, err := w.release(ctx, i, n)
		if err != nil {
			return e, err
		}
		all = append(all, some...)
	}
	for _, c := range all {
		e.Copies += len(c.members)
		switch c.fate {
		case deleted:
			e.Deleted += len(c.members)
		case expires:
			e.Expired += len(c.members)
		}
	}
	if e.Missing, _, err = w.await(ctx, n, all, func(_ *canary, there bool) bool { return there }); err != nil {
		return e, err
	}
	for i := range w.swarms {
		if err := w.takeBack(ctx, i); err != nil {
			return e, err
		}
	}
	if err := w.forward(shortLife + goneAfter); err != nil {
		return e, err
	}
	e.Left, e.After, err = w.await(ctx, n, all, func(c *canary, there bool) bool { return there == (c.fate == lives) })
	return e, err
}

// release puts a swarm's canaries, each into the same mailbox.
func (w *world) release(ctx context.Context, swarm int, n *needles) ([]*canary, error) {
	p := w.probers[swarm]
	b, err := w.exits.newBox(w.exits.swarm(swarm))
	if err != nil {
		return nil, err
	}
	m := p.conn(w.id(w.swarms[swarm][0]))
	if err := m.open(ctx, b); err != nil {
		return nil, fmt.Errorf("chaos: opening a mailbox in a healthy swarm: %w", err)
	}
	at := &probed{box: b}
	p.boxes = []*probed{at}
	var out []*canary
	for i := range canaries {
		life, fate := envelopeLife, fate(i)%fates
		if fate == expires {
			life = shortLife
		}
		e := &envelope{expiry: uint64(time.Now().Add(life).Unix()), put: acked}
		fillRandom(e.seed[:])
		bytes := e.bytes()
		e.digest = mailbox.EnvelopeDigest(b.Address(), bytes)
		if err := m.put(ctx, b, bytes, e.expiry); err != nil {
			return nil, fmt.Errorf("chaos: a put in a healthy swarm: %w", err)
		}
		at.envelopes = append(at.envelopes, e)
		out = append(out, &canary{name: n.add(bytes), members: w.swarms[swarm], fate: fate})
	}
	return out, nil
}

// takeBack deletes some of a swarm's canaries, and waits until no member shows
// them.
func (w *world) takeBack(ctx context.Context, swarm int) error {
	p := w.probers[swarm]
	at := p.boxes[0]
	var digests []mailbox.Digest
	for i, e := range at.envelopes {
		if fate(i)%fates == deleted {
			e.deleted = acked
			digests = append(digests, e.digest)
		}
	}
	expiry := uint64(time.Now().Add(envelopeLife).Unix())
	if err := p.conn(w.id(w.swarms[swarm][0])).delete(ctx, at.box, digests, expiry); err != nil {
		return fmt.Errorf("chaos: deleting in a healthy swarm: %w", err)
	}
	if found := p.audit(ctx); len(found) > 0 {
		return fmt.Errorf("chaos: after a deletion in a healthy swarm: %v", found)
	}
	return nil
}

// forward sets all nodes' clocks ahead.
func (w *world) forward(d time.Duration) error {
	for i := range w.machines.all {
		if err := w.machines.shake(i+1, func(s *faults.State) { s.Clock = d }); err != nil {
			return err
		}
	}
	return nil
}

// await looks through the files of all members until every canary is as it must
// be at each, or the time is over. It returns how many copies are not.
func (w *world) await(ctx context.Context, n *needles, all []*canary, good func(c *canary, there bool) bool) (left int, seconds float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.patience())
	defer cancel()
	for began := time.Now(); ; {
		if left, err = w.search(n, all, good); err != nil || left == 0 || !pause(ctx, searchAgain) {
			return left, time.Since(began).Seconds(), err
		}
	}
}

// search counts the copies that are not as they must be.
func (w *world) search(n *needles, all []*canary, good func(c *canary, there bool) bool) (left int, err error) {
	for i, e := range w.layout.Nodes {
		found, err := n.search(e.Dir)
		if err != nil {
			return 0, err
		}
		for _, c := range all {
			for _, m := range c.members {
				if m == i+1 && !good(c, found[c.name]) {
					left++
				}
			}
		}
	}
	return left, nil
}
