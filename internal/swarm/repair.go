package swarm

import "context"

// followRepairs is the goroutine that has what a repair of the store cost brought
// back. Until a majority has been compared with again, this member may lack
// mailboxes, as after a start (spec/swarm.md §5.12).
func (s *Swarm) followRepairs(ctx context.Context) {
	for {
		select {
		case <-s.cfg.Store.Repaired():
		case <-ctx.Done():
			return
		}
		s.metrics.repairs.Inc()
		s.losses.Add(1)
		s.moves.lose()
		for _, p := range s.view().peers {
			p.reconciled.Store(false)
			p.lookSoon()
		}
	}
}
