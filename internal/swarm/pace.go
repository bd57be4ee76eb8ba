package swarm

import (
	"context"
	"sync"
	"time"

	"sotto/internal/mailbox"
)

// pace spreads bytes over time: copyRate of them a second, and copyBurst at once.
type pace struct {
	// mu guards paid.
	mu   sync.Mutex
	paid time.Time // when what was taken so far would have been taken at copyRate
}

// take waits until n bytes more may go. It returns ErrBusy at once when that
// would keep the caller waiting for so long that it gave the peer up.
func (p *pace) take(ctx context.Context, n int) error {
	now := time.Now()
	p.mu.Lock()
	paid := p.paid
	if least := now.Add(-cost(copyBurst)); paid.Before(least) {
		paid = least
	}
	paid = paid.Add(cost(n))
	wait := paid.Sub(now)
	if wait > callTimeout/2 {
		p.mu.Unlock()
		return mailbox.ErrBusy
	}
	p.paid = paid
	p.mu.Unlock()
	if wait > 0 && !sleep(ctx, wait) {
		return ctx.Err()
	}
	return nil
}

func cost(n int) time.Duration { return time.Duration(n) * time.Second / copyRate }
