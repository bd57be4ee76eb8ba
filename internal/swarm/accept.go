package swarm

import (
	"context"
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// accept stores a copy that another member passes on, after checking again all
// that its maker signed or worked for: a member can withhold, but not inject
// (spec/swarm.md §5.5). Stamps don't count for copies, and work is checked at
// the time of its quote, which is when it was done.
func (s *Swarm) accept(ctx context.Context, req mailbox.Request) error {
	a, ok := addressOf(req)
	if !ok {
		return fmt.Errorf("copy of this request: %w", mailbox.ErrForbidden)
	}
	if err := s.view().refuse(a); err != nil {
		return err
	}
	switch r := req.(type) {
	case *mailbox.Open:
		return s.acceptOpen(ctx, r)
	case *mailbox.Put:
		return s.acceptPut(ctx, r)
	case *mailbox.Delete:
		if err := mailbox.Authorize(r, s.copied(s.cfg.Now())); err != nil {
			return err
		}
		d := tombstoneOf(r)
		d.Replica = true
		return storeError(s.cfg.Store.Delete(ctx, d))
	default:
		return fmt.Errorf("copy of this request: %w", mailbox.ErrForbidden)
	}
}

// copied are the terms for copies. Whoever quoted the price of their work may
// have left the swarm long ago, so that any node's quote counts: a member that
// passes on what nobody else quoted could have quoted it itself.
func (s *Swarm) copied(now time.Time) mailbox.Terms {
	anyone := func(identity.NodeID, mailbox.Address) bool { return true }
	return mailbox.Terms{Now: now, Member: anyone, MinBits: s.cfg.WorkBits, Copied: true}
}

func (s *Swarm) acceptOpen(ctx context.Context, r *mailbox.Open) error {
	g := grantOf(r)
	if g.Expiry <= s.unixNow() {
		return mailbox.ErrExpired
	}
	at, err := s.workedAt(r.Work.Quote)
	if err != nil {
		return err
	}
	if err := mailbox.Authorize(r, s.copied(at)); err != nil {
		return err
	}
	return storeError(s.cfg.Store.OpenMailbox(ctx, g))
}

func (s *Swarm) acceptPut(ctx context.Context, r *mailbox.Put) error {
	e, err := s.copiedEnvelope(r)
	if err != nil {
		return err
	}
	st, err := s.cfg.Store.Put(ctx, e)
	if err != nil {
		return storeError(err)
	}
	if st.Fresh {
		s.subs.notify(e.Address)
	}
	return nil
}

// copiedEnvelope is what a copied put leaves in the store, once it is checked.
func (s *Swarm) copiedEnvelope(r *mailbox.Put) (*store.Envelope, error) {
	if err := s.view().refuse(r.Address()); err != nil {
		return nil, err
	}
	if err := mailbox.Authorize(r, s.copied(s.cfg.Now())); err != nil {
		return nil, err
	}
	e := envelopeOf(r)
	e.Replica = true
	if r.Kind == mailbox.KindFrontDoor {
		if err := s.checkPutWork(r, e.Digest); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// checkPutWork checks a copied first contact's work, which Authorize leaves to
// the member that the client talked to.
func (s *Swarm) checkPutWork(r *mailbox.Put, d mailbox.Digest) error {
	if r.Work == nil || r.Work.Quote.Bits < s.cfg.WorkBits {
		return mailbox.ErrBadWork
	}
	at, err := s.workedAt(r.Work.Quote)
	if err != nil {
		return err
	}
	return mailbox.VerifyWork(mailbox.PutPurpose(r.Address(), d), r.Work, at)
}

// workedAt returns when a quote was issued, unless that lies ahead.
func (s *Swarm) workedAt(q mailbox.WorkQuote) (time.Time, error) {
	now := s.cfg.Now()
	if q.Issued > uint64(max(now.Add(mailbox.MaxClockSkew).Unix(), 0)) {
		return time.Time{}, mailbox.ErrBadWork
	}
	return time.Unix(int64(q.Issued), 0), nil
}
