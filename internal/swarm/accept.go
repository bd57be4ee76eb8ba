package swarm

import (
	"context"
	"fmt"
	"time"

	"sotto/internal/mailbox"
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
	v := s.view()
	if err := v.refuse(a); err != nil {
		return err
	}
	switch r := req.(type) {
	case *mailbox.Open:
		return s.acceptOpen(ctx, v, r)
	case *mailbox.Put:
		return s.acceptPut(ctx, v, r)
	case *mailbox.Delete:
		if err := mailbox.Authorize(r, s.copied(v, s.cfg.Now())); err != nil {
			return err
		}
		d := tombstoneOf(r)
		d.Replica = true
		return storeError(s.cfg.Store.Delete(ctx, d))
	default:
		return fmt.Errorf("copy of this request: %w", mailbox.ErrForbidden)
	}
}

func (s *Swarm) copied(v *view, now time.Time) mailbox.Terms {
	return mailbox.Terms{Now: now, Member: v.quoteCounts, MinBits: s.cfg.WorkBits, Copied: true}
}

func (s *Swarm) acceptOpen(ctx context.Context, v *view, r *mailbox.Open) error {
	g := grantOf(r)
	if g.Expiry <= s.unixNow() {
		return mailbox.ErrExpired
	}
	at, err := s.workedAt(r.Work.Quote)
	if err != nil {
		return err
	}
	if err := mailbox.Authorize(r, s.copied(v, at)); err != nil {
		return err
	}
	return storeError(s.cfg.Store.OpenMailbox(ctx, g))
}

func (s *Swarm) acceptPut(ctx context.Context, v *view, r *mailbox.Put) error {
	if err := mailbox.Authorize(r, s.copied(v, s.cfg.Now())); err != nil {
		return err
	}
	e := envelopeOf(r)
	e.Replica = true
	if r.Kind == mailbox.KindFrontDoor {
		if err := s.checkPutWork(v, r, e.Digest); err != nil {
			return err
		}
	}
	return storeError(s.storeEnvelope(ctx, e))
}

// checkPutWork checks a copied first contact's work, which Authorize leaves to
// the member that the client talked to.
func (s *Swarm) checkPutWork(v *view, r *mailbox.Put, d mailbox.Digest) error {
	if r.Work == nil || r.Work.Quote.Bits < s.cfg.WorkBits || !v.quoteCounts(r.Work.Quote.Node, r.Address()) {
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
