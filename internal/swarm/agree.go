package swarm

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// proposal is a change that a majority must have on disk.
type proposal struct {
	op   opcode
	addr mailbox.Address
	body []byte          // the request; agree puts the keepers before it
	put  *store.Envelope // for opPut: what receipts must confirm
	// local makes the change here. It calls done once, with the receipt of a
	// put, when the change is on disk.
	local func(done func(*mailbox.Receipt, error))

	keepers keeperSet  // set by agree
	name    store.Name // of the record that the change makes
}

// vote is a member's answer to a proposal.
type vote struct {
	peer    *peer // nil: this one
	receipt *mailbox.Receipt
	reply   []byte // a peer's receipt, not looked at yet
	err     error
}

// agree has a change made here and by the view's peers at once, and returns when
// a majority of its members has it, without waiting for the rest: peers that are slow or away
// are told later (spec/swarm.md §5.3, §5.11).
func (s *Swarm) agree(ctx context.Context, v *view, p proposal) ([]mailbox.Receipt, error) {
	p.keepers, p.body = v.keepers, encodeChange(v.keepers, p.body)
	votes := make(chan vote, len(v.peers)+1)
	for _, peer := range v.peers {
		peer.propose(p, votes)
	}
	p.local(func(r *mailbox.Receipt, err error) {
		if err == nil {
			err = s.still(v.keepers, p.addr)
		}
		votes <- vote{receipt: r, err: err}
	})
	return v.count(ctx, p, votes)
}

// count waits until a majority said yes, or can no longer. Peers that are away
// are asked again for a moment, since a member that restarts comes back soon.
func (v *view) count(ctx context.Context, p proposal, votes chan vote) ([]mailbox.Receipt, error) {
	var receipts []mailbox.Receipt
	var away []*peer
	began := time.Now()
	mine := false // whether this member's own vote has come: it is one of any majority, and its refusal the answer
	for yes, open := 0, len(v.peers)+1; !mine || yes < v.majority; {
		if mine && yes+open < v.majority {
			if yes+open+len(away) < v.majority || time.Since(began) > returnWithin || !sleep(ctx, backoffMin) {
				return nil, mailbox.ErrUnavailable
			}
			for _, peer := range away {
				peer.propose(p, votes)
			}
			open, away = open+len(away), nil
		}
		select {
		case got := <-votes:
			open--
			if got.peer == nil {
				mine = true
				if got.err != nil {
					return nil, got.err
				}
			}
			got.judge(p)
			// One that knows other keepers has a newer directory than this node,
			// or an older one, and soon both have the same.
			if errors.Is(got.err, errPeerAway) || errors.Is(got.err, mailbox.ErrWrongSwarm) {
				away = append(away, got.peer)
			}
			if got.err != nil {
				continue
			}
			if got.receipt != nil {
				receipts = append(receipts, *got.receipt)
			}
			yes++
		case <-ctx.Done():
			return nil, mailbox.ErrUnavailable
		}
	}
	return receipts, nil
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// propose sends a proposal to a peer; its vote comes without fail, at once when
// the peer is away or has too much waiting.
func (p *peer) propose(prop proposal, votes chan<- vote) {
	p.send(&call{op: prop.op, body: prop.body, done: func(reply []byte, err error) {
		p.hint(prop.name, err)
		if prop.op != opOpen && errors.Is(err, mailbox.ErrNotOpen) {
			p.introduce(prop, votes)
			return
		}
		votes <- p.vote(reply, err)
	}})
}

// introduce sends a peer the grants of a mailbox that it missed, and then the
// change again.
func (p *peer) introduce(prop proposal, votes chan<- vote) {
	grants, err := p.s.cfg.Store.Grants(prop.addr)
	if err != nil || len(grants) == 0 {
		votes <- vote{peer: p, err: errors.Join(mailbox.ErrNotOpen, err)}
		return
	}
	var answered atomic.Int32
	for _, g := range grants {
		p.send(&call{op: opOpen, body: encodeChange(prop.keepers, g.Proof), done: func([]byte, error) {
			if int(answered.Add(1)) < len(grants) {
				return
			}
			p.send(&call{op: prop.op, body: prop.body, done: func(reply []byte, err error) {
				p.hint(prop.name, err)
				votes <- p.vote(reply, err)
			}})
		}})
	}
}

func (p *peer) vote(reply []byte, err error) vote {
	return vote{peer: p, reply: reply, err: err}
}

// judge lets a peer's yes to a put count only with its own receipt. The one who
// waits does it, so that votes that come too late cost nothing.
func (v *vote) judge(prop proposal) {
	if v.peer == nil || v.err != nil || prop.put == nil {
		return
	}
	r, err := mailbox.ParseReceipt(v.reply)
	if err == nil && r.Node != v.peer.id {
		err = mailbox.ErrReceipt
	}
	if err == nil {
		err = v.peer.roots.Confirms(r, prop.put.Address, prop.put.Digest, prop.put.Expiry)
	}
	if err != nil {
		v.peer.s.metrics.badReceipts.Inc()
	}
	v.receipt, v.err = r, err
}
