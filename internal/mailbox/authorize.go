package mailbox

import (
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// Terms are what a node knows when it judges a request.
type Terms struct {
	Now   time.Time
	Stamp Stamp // that the request came under
	// Member says whether a node's quotes count for an address: whether it is
	// a member of the address's swarm. Nil counts none.
	Member func(identity.NodeID, Address) bool
	// MinBits is the least price that counts, so that no member sells cheap.
	MinBits uint8
	// Subscribe and Challenge are what a Prove answers.
	Subscribe *Subscribe
	Challenge *Challenge
	// Copied marks a put or delete that another member passes on: neither the
	// stamp nor the work counts then, both were the first member's to check.
	Copied bool
}

// Authorize makes every check of a request that needs no store: skew, kind,
// period, size class, time to live, signature, certificate and work. It does
// not ask a ReplayCache. The order is from cheap to dear (spec/mailbox.md §5.3).
func Authorize(req Request, t Terms) error {
	if !t.Copied {
		if err := checkSkew(t.Stamp.Time, unix(t.Now)); err != nil {
			return err
		}
	}
	switch r := req.(type) {
	case *Quote, *Directory:
		return nil
	case *Open:
		return r.authorize(t)
	case *Put:
		return r.authorize(t)
	case *Fetch:
		return r.authorize(t)
	case *Subscribe:
		return r.check(t)
	case *Prove:
		return r.authorize(t)
	case *Delete:
		return r.authorize(t)
	default:
		return fmt.Errorf("request of unknown type: %w", ErrFormat)
	}
}

// check refuses reserved kinds and periods that nobody can need.
func (l Locator) check(now time.Time) error {
	if err := l.Kind.check(); err != nil {
		return err
	}
	p := uint64(identity.PeriodAt(now))
	if l.Period > p+MaxPeriodsAhead || l.Period+MaxPeriodsBehind < p {
		return fmt.Errorf("period: %w", ErrExpired)
	}
	return nil
}

func (o *Open) authorize(t Terms) error {
	if err := o.Locator.check(t.Now); err != nil {
		return err
	}
	if o.Bytes == 0 || o.Bytes > MaxOpenBytes || o.Days == 0 || o.Days > MaxOpenDays {
		return fmt.Errorf("mailbox of %d bytes for %d days: %w", o.Bytes, o.Days, ErrTooLarge)
	}
	return t.checkWork(OpenPurpose(o.Address(), o.Bytes, o.Days), &o.Work)
}

func (p *Put) authorize(t Terms) error {
	if err := p.Locator.check(t.Now); err != nil {
		return err
	}
	if err := p.checkSize(); err != nil {
		return err
	}
	ttl := MaxTTL
	if p.Kind == KindCard {
		ttl = MaxCardTTL
	}
	if err := checkExpiry(p.Expiry, t.Now, ttl); err != nil {
		return err
	}
	label, signed := labelPut, p.signed()
	if p.Kind == KindCard {
		return p.Locator.checkOwner(&p.Authorization, label, signed)
	}
	if err := p.Locator.checkShared(&p.Authorization, label, signed); err != nil {
		return err
	}
	return p.checkWork(t)
}

func (p *Put) checkWork(t Terms) error {
	if p.Kind != KindFrontDoor {
		if p.Work != nil {
			return fmt.Errorf("work where none is due: %w", ErrFormat)
		}
		return nil
	}
	if t.Copied {
		return nil
	}
	if p.Work == nil {
		return fmt.Errorf("front door without work: %w", ErrBadWork)
	}
	addr := p.Address()
	return t.checkWork(PutPurpose(addr, EnvelopeDigest(addr, p.Envelope)), p.Work)
}

// checkSize holds every kind to its classes: first contacts and cards have one
// each, so that their size says nothing.
func (p *Put) checkSize() error {
	n := len(p.Envelope)
	switch {
	case !IsClass(n),
		p.Kind == KindFrontDoor && n != FirstClass,
		p.Kind == KindCard && n != CardClass:
		return fmt.Errorf("envelope of %d bytes at a %s: %w", n, p.Kind, ErrTooLarge)
	case p.Kind == KindCard && p.Work != nil:
		return fmt.Errorf("work where none is due: %w", ErrFormat)
	}
	return nil
}

func checkExpiry(expiry uint64, now time.Time, ttl time.Duration) error {
	t := unix(now)
	if expiry <= t || expiry > t+seconds(ttl)+seconds(MaxClockSkew) {
		return fmt.Errorf("expiry: %w", ErrExpired)
	}
	return nil
}

func (f *Fetch) authorize(t Terms) error {
	if err := f.Locator.check(t.Now); err != nil {
		return err
	}
	if f.Limit == 0 || f.Limit > MaxFetchLimit {
		return fmt.Errorf("fetch of %d: %w", f.Limit, ErrTooLarge)
	}
	return f.Locator.checkReader(&f.Authorization, labelFetch, f.signed(t.Stamp))
}

func (s *Subscribe) check(t Terms) error {
	if err := s.Locator.check(t.Now); err != nil {
		return err
	}
	if s.Kind == KindCard {
		return fmt.Errorf("subscription to a card: %w", ErrForbidden)
	}
	return nil
}

func (p *Prove) authorize(t Terms) error {
	if t.Subscribe == nil || t.Challenge == nil {
		return fmt.Errorf("proof without a challenge: %w", ErrForbidden)
	}
	if err := t.Subscribe.check(t); err != nil {
		return err
	}
	return t.Subscribe.Locator.checkReader(&p.Authorization, labelProve, t.Subscribe.proved(t.Stamp.Node, t.Challenge))
}

func (d *Delete) authorize(t Terms) error {
	if err := d.Locator.check(t.Now); err != nil {
		return err
	}
	if len(d.Digests) == 0 || len(d.Digests) > MaxDigests {
		return fmt.Errorf("delete of %d: %w", len(d.Digests), ErrTooLarge)
	}
	if err := checkExpiry(d.Expiry, t.Now, MaxCardTTL); err != nil {
		return err
	}
	return d.Locator.checkOwner(&d.Authorization, labelDelete, d.signed())
}

// checkReader checks the right to read: the owner's, but of a card everyone's
// who knows the account.
func (l Locator) checkReader(a *Authorization, label suite.Label, signed []byte) error {
	if l.Kind == KindCard {
		return l.checkShared(a, label, signed)
	}
	return l.checkOwner(a, label, signed)
}

func (l Locator) checkShared(a *Authorization, label suite.Label, signed []byte) error {
	if a.Certificate != nil {
		return fmt.Errorf("certificate where none is due: %w", ErrFormat)
	}
	if !l.Shared.Verify(label, signed, a.Signature) {
		return ErrBadSignature
	}
	return nil
}

// checkOwner checks a signature by the owner key itself, or where that is a
// period's blinded key by a period key that it certifies.
func (l Locator) checkOwner(a *Authorization, label suite.Label, signed []byte) error {
	key := l.Owner
	switch {
	case l.Kind == KindConversation && a.Certificate != nil:
		return fmt.Errorf("certificate where none is due: %w", ErrFormat)
	case l.Kind != KindConversation:
		c := a.Certificate
		if c == nil {
			return fmt.Errorf("certificate missing: %w", ErrBadSignature)
		}
		if c.Blinded != l.Owner {
			return fmt.Errorf("certificate of another owner: %w", ErrBadSignature)
		}
		if err := c.VerifyBlinded(identity.Period(l.Period)); err != nil {
			return fmt.Errorf("%w: %w", ErrBadSignature, err)
		}
		key = c.Key
	}
	if !key.Verify(label, signed, a.Signature) {
		return ErrBadSignature
	}
	return nil
}

func (t *Terms) checkWork(p Purpose, w *Work) error {
	if w.Quote.Bits < t.MinBits {
		return fmt.Errorf("quote below the price: %w", ErrBadWork)
	}
	if t.Member == nil || !t.Member(w.Quote.Node, p.Address) {
		return fmt.Errorf("quote of a stranger: %w", ErrBadWork)
	}
	return VerifyWork(p, w, t.Now)
}
