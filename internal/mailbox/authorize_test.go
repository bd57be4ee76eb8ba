package mailbox

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

func TestAuthorizeAccepts(t *testing.T) {
	w := newWorld(t)
	for name, req := range w.requests() {
		terms := w.terms()
		if name == "prove" {
			_, terms = w.prove()
		}
		if err := Authorize(req, terms); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// What arrived over the wire counts alike.
		if err := Authorize(must(ParseRequest(EncodeRequest(req))), terms); err != nil {
			t.Errorf("%s, parsed: %v", name, err)
		}
	}
}

// refusal is a request made good, then changed; Terms too.
type refusal struct {
	req   func(w *world) Request
	terms func(t *Terms)
	want  error
}

func refusals() map[string]refusal {
	put := func(f func(w *world, p *Put)) func(*world) Request {
		return func(w *world) Request { p := w.put(); f(w, p); return p }
	}
	resign := func(f func(w *world, p *Put)) func(*world) Request {
		return put(func(w *world, p *Put) { f(w, p); p.Sign(w.box().Write, nil) })
	}
	door := func(f func(w *world, p *Put)) func(*world) Request {
		return func(w *world) Request { p := w.frontDoorPut(); f(w, p); return p }
	}
	card := func(f func(w *world, p *Put)) func(*world) Request {
		return func(w *world) Request { p := w.cardPut(); f(w, p); return p }
	}
	fetch := func(f func(w *world, x *Fetch)) func(*world) Request {
		return func(w *world) Request { x := w.fetch(); f(w, x); return x }
	}
	open := func(f func(w *world, o *Open)) func(*world) Request {
		return func(w *world) Request {
			o := w.open()
			f(w, o)
			return o
		}
	}
	del := func(f func(w *world, d *Delete)) func(*world) Request {
		return func(w *world) Request { d := w.remove(); f(w, d); return d }
	}
	prove := func(f func(p *Prove)) func(*world) Request {
		return func(w *world) Request { p, _ := w.prove(); f(p); return p }
	}
	answered := func(t *Terms) {
		w := makeWorld()
		_, p := w.prove()
		t.Subscribe, t.Challenge = p.Subscribe, p.Challenge
	}
	nothing := func(*Prove) {}
	return map[string]refusal{
		"late":          {put(func(*world, *Put) {}), func(t *Terms) { t.Now = t.Now.Add(MaxClockSkew + time.Second) }, ErrSkew},
		"early":         {put(func(*world, *Put) {}), func(t *Terms) { t.Now = t.Now.Add(-MaxClockSkew - time.Second) }, ErrSkew},
		"stamp of zero": {func(*world) Request { return &Quote{} }, func(t *Terms) { t.Stamp = Stamp{} }, ErrSkew},
		"no type":       {func(*world) Request { return nil }, nil, ErrFormat},

		"sync mailbox":    {put(func(_ *world, p *Put) { p.Kind = KindSync }), nil, ErrForbidden},
		"file mailbox":    {put(func(_ *world, p *Put) { p.Kind = KindFile }), nil, ErrForbidden},
		"unknown kind":    {put(func(_ *world, p *Put) { p.Kind = 77 }), nil, ErrForbidden},
		"period too far":  {put(func(_ *world, p *Put) { p.Period += MaxPeriodsAhead + 2 }), nil, ErrExpired},
		"period too old":  {put(func(_ *world, p *Put) { p.Period -= MaxPeriodsBehind + 1 }), nil, ErrExpired},
		"period overflow": {put(func(_ *world, p *Put) { p.Period = 1<<64 - 1 }), nil, ErrExpired},

		"put of no class":          {resign(func(_ *world, p *Put) { p.Envelope = p.Envelope[:4095] }), nil, ErrTooLarge},
		"put of nothing":           {resign(func(_ *world, p *Put) { p.Envelope = nil }), nil, ErrTooLarge},
		"put that is expired":      {resign(func(w *world, p *Put) { p.Expiry = unix(w.now) }), nil, ErrExpired},
		"put for too long":         {resign(func(w *world, p *Put) { p.Expiry = unix(w.now.Add(MaxTTL + time.Hour)) }), nil, ErrExpired},
		"put for ever":             {resign(func(_ *world, p *Put) { p.Expiry = 1<<64 - 1 }), nil, ErrExpired},
		"put with work":            {resign(func(w *world, p *Put) { p.Work = &Work{} }), nil, ErrFormat},
		"put, other envelope":      {put(func(_ *world, p *Put) { p.Envelope[9] ^= 1 }), nil, ErrBadSignature},
		"put, other expiry":        {put(func(_ *world, p *Put) { p.Expiry-- }), nil, ErrBadSignature},
		"put, other period":        {put(func(_ *world, p *Put) { p.Period++ }), nil, ErrBadSignature},
		"put, other owner":         {put(func(_ *world, p *Put) { p.Owner[0] ^= 1 }), nil, ErrBadSignature},
		"put signed by the owner":  {put(func(w *world, p *Put) { p.Sign(w.owner(), nil) }), nil, ErrBadSignature},
		"put with a certificate":   {put(func(w *world, p *Put) { p.Certificate = &w.secrets.Certificate }), nil, ErrFormat},
		"put at a card's kind":     {put(func(_ *world, p *Put) { p.Kind = KindCard }), nil, ErrBadSignature},
		"put at front door's kind": {put(func(_ *world, p *Put) { p.Kind = KindFrontDoor }), nil, ErrTooLarge},

		"front door without work":   {door(func(_ *world, p *Put) { p.Work = nil }), nil, ErrBadWork},
		"front door, wrong class":   {door(func(w *world, p *Put) { p.Envelope = p.Envelope[:4096]; w.signFrontDoor(p) }), nil, ErrTooLarge},
		"front door, other work":    {door(func(w *world, p *Put) { x := w.open().Work; p.Work = &x; p.Work.Nonce ^= 0x55aa }), nil, ErrBadWork},
		"front door, changed quote": {door(func(_ *world, p *Put) { p.Work.Quote.Bits = 0 }), nil, ErrBadWork},
		"front door, quote expired": {door(func(w *world, p *Put) {
			old := NewWorkQuote(w.node, testBits, w.now.Add(-2*QuoteLife))
			addr := p.Address()
			x := must(SolveWork(nil, PutPurpose(addr, EnvelopeDigest(addr, p.Envelope)), old))
			p.Work = &x
		}), nil, ErrBadWork},
		"front door, quote below price":  {door(func(*world, *Put) {}), func(t *Terms) { t.MinBits = testBits + 1 }, ErrBadWork},
		"front door, quote of stranger":  {door(func(*world, *Put) {}), func(t *Terms) { t.Member = func(identity.NodeID, Address) bool { return false } }, ErrBadWork},
		"front door, nobody is a member": {door(func(*world, *Put) {}), func(t *Terms) { t.Member = nil }, ErrBadWork},
		"front door, by period key":      {door(func(w *world, p *Put) { p.Sign(w.secrets.Key, &w.secrets.Certificate) }), nil, ErrFormat},
		"front door, fetch by shared key": {func(w *world) Request {
			f := w.frontDoorFetch()
			f.Sign(identity.FrontDoorShared(w.bob.ID().Root, w.period()), nil, w.stamp())
			return f
		}, nil, ErrBadSignature},
		"front door, fetch uncertified": {func(w *world) Request { f := w.frontDoorFetch(); f.Certificate = nil; return f }, nil, ErrBadSignature},
		"front door, other's certificate": {func(w *world) Request {
			f := w.frontDoorFetch()
			s := must(identity.NewPeriodSecrets(newStream("mallory"), w.alice.Root(), identity.DeviceID{}, suite.DHPublic{}, 0, w.period()))
			f.Sign(s.Key, &s.Certificate, w.stamp())
			return f
		}, nil, ErrBadSignature},
		"front door, other period's certificate": {func(w *world) Request {
			f := w.frontDoorFetch()
			s := must(identity.NewPeriodSecrets(newStream("next"), w.bob.Root(), identity.DeviceID{}, suite.DHPublic{}, 0, w.period()+1))
			f.Sign(s.Key, &s.Certificate, w.stamp())
			return f
		}, nil, ErrBadSignature},
		"front door, certificate moved to another period": {func(w *world) Request {
			f := w.frontDoorFetch()
			f.Period++
			f.Certificate.Period++
			f.Sign(w.secrets.Key, f.Certificate, w.stamp())
			return f
		}, nil, ErrBadSignature},

		"card, wrong class":     {card(func(w *world, p *Put) { p.Envelope = make([]byte, FirstClass) }), nil, ErrTooLarge},
		"card for too long":     {card(func(w *world, p *Put) { p.Expiry += 3600 }), nil, ErrExpired},
		"card by shared key":    {card(func(w *world, p *Put) { p.Sign(identity.CardShared(w.bob.ID().Root, w.period()), nil) }), nil, ErrBadSignature},
		"card with work":        {card(func(w *world, p *Put) { p.Work = &Work{} }), nil, ErrFormat},
		"card changed":          {card(func(w *world, p *Put) { p.Envelope[100] ^= 1 }), nil, ErrBadSignature},
		"card, subscription":    {func(w *world) Request { return &Subscribe{Locator: w.cardPut().Locator} }, nil, ErrForbidden},
		"card, fetch by a node": {func(w *world) Request { f := w.cardFetch(); f.Sign(w.node, nil, w.stamp()); return f }, nil, ErrBadSignature},

		"fetch of none":         {fetch(func(w *world, f *Fetch) { f.Limit = 0; f.Sign(w.owner(), nil, w.stamp()) }), nil, ErrTooLarge},
		"fetch of too much":     {fetch(func(w *world, f *Fetch) { f.Limit = MaxFetchLimit + 1; f.Sign(w.owner(), nil, w.stamp()) }), nil, ErrTooLarge},
		"fetch, other cursor":   {fetch(func(_ *world, f *Fetch) { f.Cursor.Seq++ }), nil, ErrBadSignature},
		"fetch, other limit":    {fetch(func(_ *world, f *Fetch) { f.Limit++ }), nil, ErrBadSignature},
		"fetch by write key":    {fetch(func(w *world, f *Fetch) { f.Sign(w.box().Write, nil, w.stamp()) }), nil, ErrBadSignature},
		"fetch, other nonce":    {fetch(func(*world, *Fetch) {}), func(t *Terms) { t.Stamp.Nonce[0] ^= 1 }, ErrBadSignature},
		"fetch, other time":     {fetch(func(*world, *Fetch) {}), func(t *Terms) { t.Stamp.Time++ }, ErrBadSignature},
		"fetch at another node": {fetch(func(*world, *Fetch) {}), func(t *Terms) { t.Stamp.Node[0] ^= 1 }, ErrBadSignature},

		"open for nothing":      {open(func(_ *world, o *Open) { o.Bytes = 0 }), nil, ErrTooLarge},
		"open for no days":      {open(func(_ *world, o *Open) { o.Days = 0 }), nil, ErrTooLarge},
		"open for too much":     {open(func(_ *world, o *Open) { o.Bytes = MaxOpenBytes + 1 }), nil, ErrTooLarge},
		"open for too long":     {open(func(_ *world, o *Open) { o.Days = MaxOpenDays + 1 }), nil, ErrTooLarge},
		"open, work for less":   {open(func(w *world, o *Open) { o.Bytes = 64 << 20; o.Work.Nonce = insufficient(w, o) }), nil, ErrBadWork},
		"open of sync mailbox":  {open(func(_ *world, o *Open) { o.Kind = KindSync }), nil, ErrForbidden},
		"open, quote of future": {open(func(w *world, o *Open) { o.Work.Quote = NewWorkQuote(w.node, 0, w.now.Add(time.Hour)) }), nil, ErrBadWork},

		"delete of nothing":     {del(func(w *world, d *Delete) { d.Digests = nil; d.Sign(w.owner(), nil) }), nil, ErrTooLarge},
		"delete of too many":    {del(func(w *world, d *Delete) { d.Digests = make([]Digest, 257); d.Sign(w.owner(), nil) }), nil, ErrTooLarge},
		"delete, other digest":  {del(func(_ *world, d *Delete) { d.Digests[1][0] ^= 1 }), nil, ErrBadSignature},
		"delete by write key":   {del(func(w *world, d *Delete) { d.Sign(w.box().Write, nil) }), nil, ErrBadSignature},
		"delete that is past":   {del(func(w *world, d *Delete) { d.Expiry = 5; d.Sign(w.owner(), nil) }), nil, ErrExpired},
		"delete for ever":       {del(func(w *world, d *Delete) { d.Expiry = 1 << 60; d.Sign(w.owner(), nil) }), nil, ErrExpired},
		"delete with put's sig": {del(func(w *world, d *Delete) { d.Signature = w.put().Signature }), nil, ErrBadSignature},

		"proof of nothing":         {prove(nothing), nil, ErrForbidden},
		"proof, other challenge":   {prove(nothing), func(t *Terms) { answered(t); t.Challenge = &Challenge{} }, ErrBadSignature},
		"proof, other cursor":      {prove(nothing), func(t *Terms) { answered(t); t.Subscribe.Cursor.Seq++ }, ErrBadSignature},
		"proof at another node":    {prove(nothing), func(t *Terms) { answered(t); t.Stamp.Node[0] ^= 1 }, ErrBadSignature},
		"proof, changed signature": {prove(func(p *Prove) { p.Signature[0] ^= 1 }), answered, ErrBadSignature},
	}
}

// insufficient returns a nonce whose work does not pay for o.
func insufficient(w *world, o *Open) uint64 {
	for n := uint64(0); ; n++ {
		if verifySolution(OpenPurpose(o.Address(), o.Bytes, o.Days), &Work{Quote: o.Work.Quote, Nonce: n}) != nil {
			return n
		}
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	for name, tc := range refusals() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			req, terms := tc.req(w), w.terms()
			if tc.terms != nil {
				tc.terms(&terms)
			}
			if err := Authorize(req, terms); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// A member passes a put or a delete on, days later; it still has its rights to
// show, but no stamp and no fresh quote.
func TestCopiedRequestsNeedOnlyTheirSignature(t *testing.T) {
	w := newWorld(t)
	later := Terms{Now: w.now.Add(10 * 24 * time.Hour), Copied: true}
	for name, req := range map[string]Request{"put": w.put(), "delete": w.remove(), "front door": w.frontDoorPut(), "card": w.cardPut()} {
		if err := Authorize(req, later); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := w.put()
	bad.Envelope[50] ^= 1
	if err := Authorize(bad, later); !errors.Is(err, ErrBadSignature) {
		t.Errorf("changed put: got %v", err)
	}
	if err := Authorize(w.put(), Terms{Now: w.now.Add(MaxTTL), Copied: true}); !errors.Is(err, ErrExpired) {
		t.Errorf("expired put: got %v", err)
	}
}
