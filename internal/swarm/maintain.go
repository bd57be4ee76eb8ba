package swarm

import (
	"context"
	"time"
)

// maintain is the goroutine that renews request keys, lets records expire and
// purges the files.
func (s *Swarm) maintain(ctx context.Context) {
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	var last time.Time
	for {
		purge := time.Since(last) >= purgeEvery
		if purge {
			last = time.Now()
		}
		if err := s.tidy(ctx, purge); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("expiry failed", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Expire takes away at once what has expired, and its bytes out of the files.
// Run does so by itself; a caller that changed the clock need not wait.
func (s *Swarm) Expire(ctx context.Context) error { return s.tidy(ctx, true) }

func (s *Swarm) tidy(ctx context.Context, purge bool) error {
	if _, err := s.keys.current(s.cfg.Now()); err != nil {
		return err
	}
	n, err := s.cfg.Store.ExpireBefore(ctx, s.unixNow())
	s.metrics.expired.Add(float64(n))
	if err != nil || !purge {
		return err
	}
	return s.cfg.Store.Purge(ctx)
}
