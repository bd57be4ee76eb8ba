package client

import (
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/vault"
)

// ownPeriod is our secrets for one period, and what of them is published.
type ownPeriod struct {
	row     vault.Period
	secrets *identity.PeriodSecrets
}

// secretsUntil is when a period's prekeys are erased: nothing that was put at
// its front door can arrive any more (spec/client.md §5.9).
func secretsUntil(p identity.Period) time.Time {
	return p.End().Add(mailbox.MaxTTL + overlap)
}

func (c *Client) loadPeriods(tx *vault.Tx) error {
	rows, err := tx.Periods(c.number)
	if err != nil {
		return err
	}
	for _, row := range rows {
		s, err := identity.ParsePeriodSecrets(row.Secrets)
		if err != nil {
			return fmt.Errorf("client: stored period: %w", err)
		}
		clear(row.Secrets)
		row.Secrets = nil
		c.periods[identity.Period(row.Period)] = &ownPeriod{row: row, secrets: s}
	}
	n, err := tx.Number(settingDoorRead)
	c.doorRead = identity.Period(n)
	return err
}

func (c *Client) ownPeriodAt(p identity.Period) *ownPeriod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.periods[p]
}

// renewPeriods makes the secrets of the current and the next periods, and
// erases those whose time is over.
func (c *Client) renewPeriods() error {
	now := c.now()
	current := identity.PeriodAt(now)
	var fresh []*ownPeriod
	for p := current; p <= current+identity.CardPeriodsAhead; p++ {
		if c.ownPeriodAt(p) != nil {
			continue
		}
		s, err := identity.NewPeriodSecrets(c.rand, c.persona.Root(), c.device, c.persona.Identity().Public(), 0, p)
		if err != nil {
			return err
		}
		fresh = append(fresh, &ownPeriod{row: vault.Period{Persona: c.number, Period: uint64(p)}, secrets: s})
	}
	keep := current
	for keep > 0 && now.Before(secretsUntil(keep-1)) {
		keep--
	}
	c.mu.Lock()
	old := 0
	for p := range c.periods {
		if p < keep {
			delete(c.periods, p)
			old++
		}
	}
	door := c.doorRead
	c.mu.Unlock()
	if len(fresh) == 0 && old == 0 {
		return nil
	}
	if door == 0 { // a new account: nobody can have written before
		door = current
	}
	err := c.update(func(tx *vault.Tx) error {
		for _, o := range fresh {
			row := o.row
			row.Secrets = o.secrets.Encode()
			if err := tx.SetPeriod(row); err != nil {
				return err
			}
		}
		if err := tx.SetNumber(settingDoorRead, uint64(door)); err != nil {
			return err
		}
		return tx.ErasePeriods(c.number, uint64(keep))
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	for _, o := range fresh {
		c.periods[identity.Period(o.row.Period)] = o
	}
	c.doorRead = max(c.doorRead, door)
	c.mu.Unlock()
	if old > 0 {
		return c.vault.Checkpoint(c.ctx)
	}
	return nil
}

// advance moves conversations and records on with the time.
func (c *Client) advance() error {
	now := c.now()
	changed := false
	for _, ch := range c.allChannels() {
		row, moved, err := ch.advance(now)
		if err != nil {
			return err
		}
		if !moved {
			continue
		}
		changed = true
		if err := c.update(func(tx *vault.Tx) error { return tx.MoveConversation(row) }); err != nil {
			return err
		}
	}
	if err := c.update(func(tx *vault.Tx) error { return tx.Expire(uint64(now.Unix())) }); err != nil {
		return err
	}
	if changed {
		return c.vault.Checkpoint(c.ctx)
	}
	return nil
}
