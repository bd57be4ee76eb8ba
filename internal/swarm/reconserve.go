package swarm

import (
	"context"
	"math"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// serveReconcile answers a call about ranges (spec/swarm.md §5.4). It keeps no
// state between calls, reads a bounded number of rows, and answers as many
// queries as fit, but always one. A few calls are in work at a time.
func (s *Swarm) serveReconcile(ctx context.Context, asker identity.NodeID, body []byte) ([]byte, error) {
	select {
	case s.serving <- struct{}{}:
		defer func() { <-s.serving }()
	case <-ctx.Done():
		return nil, mailbox.ErrBusy
	}
	c, err := parseReconcileCall(body)
	if err != nil {
		return nil, err
	}
	if node, ok := s.view().dir.Node(asker); !ok || uint16(node.Swarm) != c.section {
		return nil, mailbox.ErrWrongSwarm // a node is told of its own section only
	}
	budget, size := store.ScanRows, 0
	var answers []answer
	for _, q := range c.queries {
		a, err := s.answerQuery(&c, &q, &budget)
		if err != nil && len(answers) == 0 {
			return nil, storeError(err)
		}
		if err != nil {
			break // the first of the next call, with a budget of its own
		}
		answers = append(answers, a)
		if size += len(a.append(nil)); size >= reconBytes || budget <= 0 {
			break
		}
	}
	return encodeAnswers(answers), nil
}

func (s *Swarm) answerQuery(c *reconcileCall, q *query, budget *int) (answer, error) {
	if q.lo >= q.hi {
		return answer{}, ErrProtocol
	}
	if q.mode == queryList {
		return s.list(c, q, budget)
	}
	sums, err := s.cfg.Store.Sums(c.section, []store.Bound{q.lo, q.hi}, budget)
	if err != nil {
		return answer{}, err
	}
	if sums[0].Fingerprint() == q.fingerprint {
		return answer{kind: answerSame}, nil
	}
	return s.cut(c, q, budget)
}

// cut divides a range that differs where leaves begin, so that its own sums
// cost nothing to make.
func (s *Swarm) cut(c *reconcileCall, q *query, budget *int) (answer, error) {
	st := s.cfg.Store
	cuts, err := st.Parts(c.section, q.lo, q.hi, reconParts)
	if err != nil {
		return answer{}, err
	}
	bounds := append(append([]store.Bound{q.lo}, cuts...), q.hi)
	sums, err := st.Sums(c.section, bounds, budget)
	if err != nil {
		return answer{}, err
	}
	a := answer{kind: answerParts}
	for i, sum := range sums {
		a.parts = append(a.parts, part{bounds[i+1], uint32(min(sum.Count, math.MaxUint32)), sum.Fingerprint()})
	}
	return a, nil
}

// list names what is here and not among the short ids.
func (s *Swarm) list(c *reconcileCall, q *query, budget *int) (answer, error) {
	had := make(map[[store.ShortIDSize]byte]bool, len(q.ids))
	for _, id := range q.ids {
		had[id] = true
	}
	a := answer{kind: answerNames}
	var err error
	a.upTo, err = s.cfg.Store.Names(c.section, q.lo, q.hi, budget, func(n store.Name) bool {
		if had[store.ShortID(c.salt, n)] {
			return true
		}
		if len(a.names) == reconIDs {
			return false
		}
		a.names = append(a.names, n)
		return true
	})
	if err == nil && a.upTo <= q.lo {
		err = store.ErrBusy
	}
	return a, err
}
