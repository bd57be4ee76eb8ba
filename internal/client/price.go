package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

const (
	// quoteMargin is how much of a quote's life must be left to work on it.
	quoteMargin = 5 * time.Minute
	// fewBits is the dearest price that is paid while fewer than a majority have
	// named one: sixteen times the usual, about a second.
	fewBits = mailbox.DefaultWorkBits + 4
	// maxPrices bounds the quotes in memory.
	maxPrices = 512
)

// prices remembers for each mailbox apart what its work is paid by: a quote is
// stored with what it paid for, and must join nothing (spec/client.md §5.11).
type prices struct {
	mu     sync.Mutex // guards quotes
	quotes map[mailbox.Address]mailbox.WorkQuote
}

func (p *prices) get(a mailbox.Address, now time.Time) (q mailbox.WorkQuote, ok bool) {
	p.mu.Lock()
	q, ok = p.quotes[a]
	p.mu.Unlock()
	return q, ok && q.Verify(now.Add(quoteMargin)) == nil
}

func (p *prices) put(a mailbox.Address, q mailbox.WorkQuote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.quotes) >= maxPrices {
		clear(p.quotes)
	}
	p.quotes[a] = q
}

func (p *prices) forget(a mailbox.Address) {
	p.mu.Lock()
	delete(p.quotes, a)
	p.mu.Unlock()
}

// price returns what work for a mailbox costs: the median of what its members
// say, which no minority of them can move.
func (s *swarms) price(ctx context.Context, t target) (mailbox.WorkQuote, error) {
	a := t.loc.Address()
	if q, ok := s.prices.get(a, s.now()); ok {
		return q, nil
	}
	nodes := s.order(a)
	if len(nodes) == 0 {
		return mailbox.WorkQuote{}, errNoSwarm
	}
	got, err := s.quotes(ctx, t, nodes)
	if len(got) < majority(len(nodes)) {
		got = affordable(got)
	}
	if len(got) == 0 {
		if err == nil {
			err = fmt.Errorf("client: few members name a price, and a dear one: %w", mailbox.ErrBadWork)
		}
		return mailbox.WorkQuote{}, err
	}
	q := mailbox.MedianQuote(got)
	s.prices.put(a, q)
	return q, nil
}

// affordable leaves out what nobody has to pay on the word of a few.
func affordable(quotes []mailbox.WorkQuote) (out []mailbox.WorkQuote) {
	for _, q := range quotes {
		if q.Bits <= fewBits {
			out = append(out, q)
		}
	}
	return out
}

// quotes asks all members at once. It has heard enough when all have answered,
// when a majority say the same, or when somebody has and the time for a second
// member has come.
func (s *swarms) quotes(ctx context.Context, t target, nodes []directory.Node) (got []mailbox.WorkQuote, err error) {
	type answer struct {
		quote mailbox.WorkQuote
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.attempt)
	answers := make(chan answer, len(nodes))
	waiting := len(nodes)
	defer func() { // every question asked is waited for
		cancel()
		for range waiting {
			<-answers
		}
	}()
	for _, n := range nodes {
		go func() {
			q, err := s.quote(ctx, t, n.ID)
			s.report(ctx, t.at(n.ID), err)
			answers <- answer{q, err}
		}()
	}
	patience := time.NewTimer(s.timing.hedge)
	defer patience.Stop()
	late := false
	same := map[uint8]int{}
	for waiting > 0 && !(late && len(got) > 0) {
		select {
		case a := <-answers:
			waiting--
			if a.err != nil {
				err = a.err
				continue
			}
			got = append(got, a.quote)
			if same[a.quote.Bits]++; same[a.quote.Bits] >= majority(len(nodes)) {
				return got, nil
			}
		case <-patience.C:
			late = true
		}
	}
	if len(got) > 0 {
		return got, nil
	}
	return nil, err
}

// quote asks one member for its price.
func (m *members) quote(ctx context.Context, t target, node identity.NodeID) (q mailbox.WorkQuote, err error) {
	resp, err := m.call(ctx, t, node, fixed(&mailbox.Quote{}))
	if err != nil {
		return q, err
	}
	reply, ok := resp.(*mailbox.QuoteReply)
	if !ok {
		return q, unexpected(resp)
	}
	if reply.Quote.Node != node {
		return q, fmt.Errorf("client: quote of another node: %w", mailbox.ErrBadWork)
	}
	return reply.Quote, reply.Quote.Verify(m.now())
}

// work solves for a purpose at the mailbox's price, until ctx ends.
func (s *swarms) work(ctx context.Context, t target, p mailbox.Purpose) (mailbox.Work, error) {
	q, err := s.price(ctx, t)
	if err != nil {
		return mailbox.Work{}, err
	}
	return mailbox.SolveWork(func() bool { return ctx.Err() != nil }, p, q)
}
