package swarm

import (
	"context"
	"time"
)

// renewKeys is the goroutine that makes each epoch's request key and erases the
// last one when its grace is over. It is apart from maintain so that no long
// purge delays an erasure.
func (s *Swarm) renewKeys(ctx context.Context) {
	s.every(ctx, renewEvery, func() {
		if _, err := s.keys.current(s.cfg.Now()); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("request key not renewed", "error", err)
		}
	})
}

// maintain is the goroutine that lets records expire and purges the files.
func (s *Swarm) maintain(ctx context.Context) {
	var last time.Time
	s.every(ctx, expireEvery, func() {
		now := s.cfg.Now()
		purge := now.Sub(last).Abs() >= purgeEvery
		if purge {
			last = now
		}
		if err := s.tidy(ctx, purge); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("expiry failed", "error", err)
		}
	})
}

// every calls f now and at each interval until ctx ends.
func (s *Swarm) every(ctx context.Context, interval time.Duration, f func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		f()
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
	n, err := s.cfg.Store.ExpireBefore(ctx, s.unixNow())
	s.metrics.expired.Add(float64(n))
	if err != nil || !purge {
		return err
	}
	return s.cfg.Store.Purge(ctx)
}
