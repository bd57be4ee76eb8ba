package swarm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// answer judges and carries out a request (spec/swarm.md §5.2).
func (s *Swarm) answer(got *mailbox.Received) (resp mailbox.Response, err error) {
	defer func() { s.metrics.request(requestName(got.Request), err) }()
	v := s.view()
	if err := s.fresh(v, got); err != nil {
		return nil, err
	}
	if a, ok := addressOf(got.Request); ok {
		if !s.crowds.enter(a) {
			return nil, mailbox.ErrBusy
		}
		defer s.crowds.leave(a)
	}
	ctx, cancel := context.WithTimeout(s.ctx, putTimeout)
	defer cancel()
	switch r := got.Request.(type) {
	case *mailbox.Quote:
		now := s.cfg.Now()
		q := mailbox.NewWorkQuote(s.cfg.Identity, s.price.at(now), now)
		resp = &mailbox.QuoteReply{Quote: q}
	case *mailbox.Directory:
		resp = s.newerDirectory(r.Serial)
	case *mailbox.Open:
		resp, err = s.openMailbox(ctx, v, r)
	case *mailbox.Put:
		resp, err = s.put(ctx, v, r)
	case *mailbox.Fetch:
		resp, err = s.fetch(ctx, v, r)
	case *mailbox.Delete:
		resp, err = s.delete(ctx, v, r)
	default:
		err = fmt.Errorf("request out of place: %w", mailbox.ErrForbidden)
	}
	return resp, err
}

// fresh checks swarm, replay and rights, from cheap to dear.
func (s *Swarm) fresh(v *view, got *mailbox.Received) error {
	if a, ok := addressOf(got.Request); ok {
		if err := v.refuse(a); err != nil {
			return err
		}
	}
	now := s.cfg.Now()
	if err := s.replay.Check(got.Stamp, now); err != nil {
		return err
	}
	return mailbox.Authorize(got.Request, mailbox.Terms{
		Now:     now,
		Stamp:   got.Stamp,
		Member:  v.quoteCounts,
		MinBits: s.demands(got.Request),
	})
}

// newerDirectory is how a client that is behind is sent on: with the network's
// own signature, so that it need not believe the node.
func (s *Swarm) newerDirectory(than uint64) *mailbox.DirectoryReply {
	reply := &mailbox.DirectoryReply{}
	if d := s.cfg.Directory.Current(); d.Serial() > than {
		reply.Signed = d.Signed()
	}
	return reply
}

func addressOf(req mailbox.Request) (mailbox.Address, bool) {
	switch r := req.(type) {
	case *mailbox.Open:
		return r.Address(), true
	case *mailbox.Put:
		return r.Address(), true
	case *mailbox.Fetch:
		return r.Address(), true
	case *mailbox.Subscribe:
		return r.Address(), true
	case *mailbox.Delete:
		return r.Address(), true
	}
	return mailbox.Address{}, false
}

// requestName is a request's label in metrics.
func requestName(req mailbox.Request) string {
	switch req.(type) {
	case *mailbox.Quote:
		return "quote"
	case *mailbox.Open:
		return "open"
	case *mailbox.Put:
		return "put"
	case *mailbox.Fetch:
		return "fetch"
	case *mailbox.Subscribe:
		return "subscribe"
	case *mailbox.Delete:
		return "delete"
	case *mailbox.Directory:
		return "directory"
	}
	return "other"
}

func (s *Swarm) openMailbox(ctx context.Context, v *view, r *mailbox.Open) (mailbox.Response, error) {
	g := grantOf(r)
	_, err := s.agree(ctx, v, proposal{
		op:    opOpen,
		addr:  g.Address,
		name:  store.Name{Expiry: g.Expiry, Kind: store.KindGrant, Address: g.Address, Ref: g.ID},
		body:  g.Proof,
		local: func(done func(*mailbox.Receipt, error)) { done(nil, storeError(s.cfg.Store.OpenMailbox(ctx, g))) },
	})
	if err != nil {
		return nil, err
	}
	bytes, until, err := s.cfg.Store.Mailbox(g.Address)
	if err != nil {
		return nil, storeError(err)
	}
	return &mailbox.Opened{Until: until, Bytes: uint32(min(bytes, 1<<32-1))}, nil
}

func (s *Swarm) put(ctx context.Context, v *view, r *mailbox.Put) (mailbox.Response, error) {
	began := time.Now()
	e := envelopeOf(r)
	// Ask first, so that a put that is refused here never reaches the others.
	_, err := s.cfg.Store.Check(e)
	if errors.Is(err, store.ErrNotOpen) {
		if err := s.search(ctx, v, e.Address); err != nil {
			return nil, err
		}
		_, err = s.cfg.Store.Check(e)
	}
	switch {
	case errors.Is(err, store.ErrNotOpen):
		return nil, v.notOpen()
	case err != nil:
		return nil, storeError(err)
	}
	receipts, err := s.agree(ctx, v, proposal{
		op:    opPut,
		addr:  e.Address,
		name:  store.Name{Expiry: e.Expiry, Kind: store.KindEnvelope, Address: e.Address, Ref: e.Digest},
		body:  mailbox.EncodeRequest(r),
		put:   e,
		local: func(done func(*mailbox.Receipt, error)) { s.keep(ctx, e, done) },
	})
	if err != nil {
		return nil, err
	}
	s.metrics.putSeconds.Observe(time.Since(began).Seconds())
	return &mailbox.Stored{Receipts: receipts}, nil
}

// search looks for a mailbox that is not here: with its past keepers while it
// moves, and with the other members, since the majority that has its opening need
// not include this one yet.
func (s *Swarm) search(ctx context.Context, v *view, a mailbox.Address) error {
	if err := s.ready(ctx, v, a); err != nil {
		return err
	}
	if _, _, err := s.cfg.Store.Mailbox(a); err == nil || s.refresh(ctx, v) {
		return nil
	}
	return mailbox.ErrBusy
}

// keep puts an envelope on disk, tells subscribers at once, and calls done, once,
// with this member's receipt. It waits for none of it. One that its owner deleted
// is not stored again, and confirmed as if it were: the writer must not learn
// from a repeat that the reader took it (spec/swarm.md §5.3).
func (s *Swarm) keep(ctx context.Context, e *store.Envelope, done func(*mailbox.Receipt, error)) {
	err := s.cfg.Store.PutThen(ctx, e, func(st store.Stored, err error) {
		if err != nil {
			done(nil, storeError(err))
			return
		}
		if st.Fresh {
			s.subs.notify(e.Address)
		}
		s.receipts.order(e, done)
	})
	if err != nil {
		done(nil, storeError(err))
	}
}

func (s *Swarm) fetch(ctx context.Context, v *view, r *mailbox.Fetch) (mailbox.Response, error) {
	losses := s.cfg.Store.Losses()
	if err := s.ready(ctx, v, r.Address()); err != nil {
		return nil, err
	}
	generation, since := s.position(r.Cursor)
	p, err := s.cfg.Store.Fetch(r.Address(), generation, since, int(r.Limit), mailbox.MaxBatchBytes)
	if s.cfg.Store.Losses() != losses {
		return nil, mailbox.ErrBusy // what was ready is not what was read
	}
	if errors.Is(err, store.ErrNotOpen) {
		return nil, v.notOpen()
	}
	if err != nil {
		return nil, storeError(err)
	}
	b := &mailbox.Batch{Next: s.cursor(p.Generation, p.Next), More: p.More}
	for _, it := range p.Items {
		b.Items = append(b.Items, mailbox.Item{Digest: it.Digest, Expiry: it.Expiry, Envelope: it.Bytes})
	}
	return b, nil
}

func (s *Swarm) delete(ctx context.Context, v *view, r *mailbox.Delete) (mailbox.Response, error) {
	d := tombstoneOf(r)
	// Ask first: whoever opened no mailbox has nothing to delete, its tombstones
	// would be room that nobody worked for, and one that ends too soon must not
	// reach the others.
	err := s.cfg.Store.CheckDelete(&d)
	if errors.Is(err, store.ErrNotOpen) {
		if err := s.search(ctx, v, d.Address); err != nil {
			return nil, err
		}
		err = s.cfg.Store.CheckDelete(&d)
	}
	switch {
	case errors.Is(err, store.ErrNotOpen):
		return nil, v.notOpen()
	case err != nil:
		return nil, storeError(err)
	}
	_, err = s.agree(ctx, v, proposal{
		op:    opDelete,
		addr:  d.Address,
		name:  store.Name{Expiry: d.Expiry, Kind: store.KindTombstone, Address: d.Address, Ref: d.ID},
		body:  d.Proof,
		local: func(done func(*mailbox.Receipt, error)) { done(nil, storeError(s.cfg.Store.Delete(ctx, d))) },
	})
	if err != nil {
		return nil, err
	}
	return &mailbox.Deleted{}, nil
}

// cursor and position translate between the store's places and a client's. The
// generation is the mailbox's own, so that cursors of two mailboxes have
// nothing in common.
func (s *Swarm) cursor(generation, seq uint64) mailbox.Cursor {
	return mailbox.Cursor{Node: s.self, Incarnation: generation, Seq: seq}
}

func (s *Swarm) position(c mailbox.Cursor) (generation, seq uint64) {
	if c.Node != s.self || c.Node == (identity.NodeID{}) {
		return 0, 0
	}
	return c.Incarnation, c.Seq
}

// grantOf, envelopeOf and tombstoneOf are what a request leaves in the store.
// Each proof is the request itself, for members to check again; of a put it
// lacks the envelope, which lies beside it.
func grantOf(r *mailbox.Open) store.Grant {
	proof := mailbox.EncodeRequest(r)
	return store.Grant{
		Address: r.Address(),
		ID:      suite.Hash(labelGrant, proof),
		Bytes:   uint64(r.Bytes),
		Expiry:  r.Until(),
		Proof:   proof,
	}
}

func envelopeOf(r *mailbox.Put) *store.Envelope {
	addr := r.Address()
	bare := *r
	bare.Envelope = nil
	return &store.Envelope{
		Address: addr,
		Digest:  mailbox.EnvelopeDigest(addr, r.Envelope),
		Expiry:  r.Expiry,
		Proof:   mailbox.EncodeRequest(&bare),
		Bytes:   r.Envelope,
	}
}

func tombstoneOf(r *mailbox.Delete) store.Tombstone {
	proof := mailbox.EncodeRequest(r)
	d := store.Tombstone{Address: r.Address(), ID: suite.Hash(labelStone, proof), Expiry: r.Expiry, Proof: proof}
	for _, x := range r.Digests {
		d.Digests = append(d.Digests, x)
	}
	return d
}
