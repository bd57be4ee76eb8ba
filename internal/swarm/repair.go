package swarm

import "context"

// followRepairs is the goroutine that has what a repair of the store cost brought
// back (spec/swarm.md §5.12). That it counts for nothing meanwhile does not wait
// for this goroutine: what was found before a loss (Store.Losses) is not asked.
func (s *Swarm) followRepairs(ctx context.Context) {
	for {
		select {
		case <-s.cfg.Store.Repaired():
		case <-ctx.Done():
			return
		}
		s.metrics.repairs.Inc()
		s.moves.lose()
		for _, p := range s.view().peers {
			p.lookSoon()
		}
	}
}
