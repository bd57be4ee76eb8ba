package swarm

import (
	"context"
	"errors"

	"sotto/internal/directory"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
)

// followSections is the goroutine that gives the store its sections: the swarm
// of each address under the directory in use.
func (s *Swarm) followSections(ctx context.Context) {
	var last *directory.Directory
	for {
		changed := s.cfg.Directory.Changed()
		if dir := s.cfg.Directory.Current(); dir != last {
			last = dir
			of := func(a store.Address) uint16 { return uint16(dir.SwarmIDOf(a)) }
			err := s.cfg.Store.Resection(ctx, of)
			for errors.Is(err, store.ErrNotReady) || errors.Is(err, store.ErrAway) {
				if !sleep(ctx, backoffMin) { // the store is being opened anew
					return
				}
				err = s.cfg.Store.Resection(ctx, of)
			}
			switch {
			case err == nil:
				s.moves.sections(dir)
			case ctx.Err() == nil && !errors.Is(err, store.ErrClosed):
				s.cfg.Logger.Error("records not summarised", "error", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// refresh compares with the peers now, and reports whether so many have been
// compared with that they and this member are a majority.
func (s *Swarm) refresh(ctx context.Context, v *view) bool {
	done := make(chan error, len(v.peers))
	for _, p := range v.peers {
		s.wg.Go(func() { done <- p.reconcile(ctx, false) }) // the caller's stream holds wg open
	}
	read := 1
	for range v.peers {
		if read >= v.majority {
			break
		}
		if err := <-done; err == nil {
			read++
		}
	}
	return read >= v.majority
}

// notOpen is the answer for a mailbox that is not here. A member that has not
// reconciled with a majority since it started may only have missed its opening.
func (v *view) notOpen() error {
	seen := 1
	for _, p := range v.peers {
		if p.reconciled() {
			seen++
			continue
		}
		p.lookSoon()
	}
	if seen >= v.majority {
		return mailbox.ErrNotOpen
	}
	return mailbox.ErrBusy
}
