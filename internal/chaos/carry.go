package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/node"
)

const (
	// carryBoxes mailboxes of each swarm are filled with carryLetters each: some
	// seconds of copying for the node that joins.
	carryBoxes, carryLetters = 4, 900
	// carryLook is how often it is looked whether the node has all.
	carryLook = 20 * time.Millisecond
)

// Carried is how long clients' requests take while a node that joins a swarm
// gets what it is to keep. Members that were there before are asked, one request
// after the other; times are 95th percentiles in milliseconds.
type Carried struct {
	Envelopes  int     `json:"envelopes"` // of 4 KiB, in the swarm
	Seconds    float64 `json:"seconds"`   // from the directory on until the node has them
	Requests   int     `json:"requests"`  // meanwhile
	Put        float64 `json:"put_p95_ms"`
	PutRatio   float64 `json:"put_ratio"` // to those before
	Fetch      float64 `json:"fetch_p95_ms"`
	FetchRatio float64 `json:"fetch_ratio"`
}

// customer asks the members of one swarm: it puts to one mailbox, and fetches
// from another one.
type customer struct {
	x        *exits
	fresh    identity.NodeID // is not asked
	to, from *box
	conns    map[identity.NodeID]*member
	n        int

	puts, fetches []time.Duration
}

// carry fills all swarms, lets a node join, and measures requests to its swarm
// before and meanwhile.
func (w *world) carry(ctx context.Context) (c Carried, err error) {
	fresh, err := w.machines.grow()
	if err != nil {
		return c, err
	}
	customers := make([]*customer, len(w.swarms))
	err = together(len(customers), func(i int) (err error) {
		customers[i], err = w.customer(ctx, i, w.id(fresh))
		return err
	})
	defer func() {
		for _, a := range customers {
			a.close()
		}
	}()
	if err != nil {
		return c, fmt.Errorf("chaos: filling swarms: %w", err)
	}
	before := make(map[*customer]Carried)
	for _, a := range customers {
		for range quorumPuts {
			if err := a.ask(ctx); err != nil {
				return c, err
			}
		}
		before[a] = a.figures()
	}
	began, joined := time.Now(), make(chan error, 1)
	go func() {
		err := w.change(ctx, []int{fresh}, nil)
		if err == nil {
			err = w.whole(ctx, fresh)
		}
		joined <- err
	}()
	for done := false; !done; {
		for _, a := range customers { // which swarm it is, the lot decides
			if err := a.ask(ctx); err != nil {
				return c, errors.Join(err, <-joined)
			}
		}
		select {
		case err = <-joined:
			done = true
		default:
		}
	}
	if err != nil {
		return c, err
	}
	w.group()
	// None, if a swarm was made for it of which no mailbox is asked: then any will do.
	i := slices.IndexFunc(customers, func(a *customer) bool { return w.exits.dir.Current().InSwarmOf(w.id(fresh), a.to.Address()) })
	a := customers[max(i, 0)]
	c = a.figures()
	c.Envelopes, c.Seconds = carryBoxes*carryLetters, time.Since(began).Seconds()
	c.PutRatio, c.FetchRatio = c.Put/before[a].Put, c.Fetch/before[a].Fetch
	return c, nil
}

// whole waits until a node that joined has got what it is to keep.
func (w *world) whole(ctx context.Context, n int) error {
	serial := w.exits.dir.Current().Serial()
	for {
		st, err := node.ReadStatus(ctx, w.layout.Nodes[n-1].Dir)
		if err != nil || st.Running && st.Moving.Serial >= serial && st.Moving.Listed && st.Moving.Sources == 0 {
			return err
		}
		if !pause(ctx, carryLook) {
			return ctx.Err()
		}
	}
}

// customer fills a swarm, and makes who asks it.
func (w *world) customer(ctx context.Context, n int, fresh identity.NodeID) (*customer, error) {
	a := &customer{x: w.exits, fresh: fresh, conns: make(map[identity.NodeID]*member)}
	boxes := make([]*box, carryBoxes+2)
	for i := range boxes {
		b, err := w.exits.newBox(w.exits.swarm(n))
		if err == nil {
			err = a.next(b).open(ctx, b)
		}
		if err != nil {
			return a, err
		}
		boxes[i] = b
	}
	a.to, a.from = boxes[0], boxes[1]
	if err := a.put(ctx, a.next(a.from), a.from); err != nil {
		return a, err
	}
	members := w.swarms[n]
	return a, together(carryBoxes*len(members), func(i int) error {
		m := &member{x: w.exits, id: w.id(members[i%len(members)])}
		defer m.close()
		for range carryLetters / len(members) {
			if err := a.put(ctx, m, boxes[2+i%carryBoxes]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *customer) close() {
	if a == nil {
		return
	}
	for _, m := range a.conns {
		m.close()
	}
}

// next is a keeper of a mailbox, each in turn but the one that joins.
func (a *customer) next(b *box) *member {
	keepers := slices.DeleteFunc(a.x.keepers(b), func(n directory.Node) bool { return n.ID == a.fresh })
	a.n++
	id := keepers[a.n%len(keepers)].ID
	if a.conns[id] == nil {
		a.conns[id] = &member{x: a.x, id: id}
	}
	return a.conns[id]
}

// put leaves a new envelope.
func (a *customer) put(ctx context.Context, m *member, b *box) error {
	e := &envelope{expiry: uint64(time.Now().Add(envelopeLife).Unix())}
	fillRandom(e.seed[:])
	return patiently(ctx, func() error { return m.put(ctx, b, e.bytes(), e.expiry) })
}

// patiently repeats a request that is refused for a time, as a client does, and
// only then: by a member that says so, or while members go by two directories.
func patiently(ctx context.Context, request func() error) error {
	for {
		err := request()
		var no *mailbox.Failure
		if err == nil || !errors.As(err, &no) {
			return err
		}
		wait := time.Duration(no.RetryAfter) * time.Second
		if errors.Is(err, mailbox.ErrWrongSwarm) {
			wait = carryLook
		}
		if wait == 0 {
			return err
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// ask puts once and fetches once, at the next member.
func (a *customer) ask(ctx context.Context) error {
	began := time.Now()
	if err := a.put(ctx, a.next(a.to), a.to); err != nil {
		return err
	}
	a.puts = append(a.puts, time.Since(began))
	began = time.Now()
	m := a.next(a.from)
	err := patiently(ctx, func() error {
		_, err := m.read(ctx, a.from)
		return err
	})
	if err != nil {
		return err
	}
	a.fetches = append(a.fetches, time.Since(began))
	return nil
}

// figures are those of the requests since the last ones.
func (a *customer) figures() Carried {
	c := Carried{Requests: len(a.puts) + len(a.fetches), Put: p95(a.puts), Fetch: p95(a.fetches)}
	a.puts, a.fetches = nil, nil
	return c
}
