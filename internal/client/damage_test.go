package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sotto/internal/vault"
)

// TestDamagedVaultStopsAllWork: going on could take envelopes from the swarm
// that no vault holds.
func TestDamagedVaultStopsAllWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice := newPerson(t, s)
		cfg, _ := s.config(t)
		var damaged atomic.Bool
		cfg.fault = func(vault.Point) error {
			if damaged.Load() {
				return fmt.Errorf("%w: a page", vault.ErrDamaged)
			}
			return nil
		}
		bob := &person{t: t, cfg: cfg}
		bob.open(func(a *App) error {
			_, err := a.Create(context.Background(), "", passphrase)
			return err
		})
		wait(t, "bob's cards are published", func() bool { return published(bob) })
		damaged.Store(true)
		m := alice.send(bob, "do not get lost")
		wait(t, "bob says what is wrong", func() bool { return bob.Connection().Text == textBroken })
		alice.reached(m, MessageStored)
		damaged.Store(false)
		bob.restart()
		bob.has(alice, "do not get lost")
	})
}
