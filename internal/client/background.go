package client

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"sotto/internal/vault"
)

// signal wakes a goroutine: any number of kicks before it looks count as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) kick() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// goDo runs f in a goroutine that stop waits for.
func (c *Client) goDo(f func()) {
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		f()
	}()
}

// update is vault.Update for background work. What it writes must not be lost,
// so while the disk refuses it tries again until the client stops. An error of
// fn's own is returned; fn must not keep anything of a run that failed.
func (c *Client) update(fn func(*vault.Tx) error) error {
	for n := uint32(0); ; n++ {
		var own error
		err := c.vault.Update(c.ctx, func(tx *vault.Tx) error {
			own = fn(tx)
			return own
		})
		switch {
		case err == nil || c.ctx.Err() != nil || errors.Is(err, vault.ErrClosed):
			return err
		case errors.Is(err, vault.ErrDamaged):
			c.giveUp(err)
			return err
		case own != nil && !vault.Retryable(own):
			return err
		}
		c.log.Error("client: the vault refuses a write", "error", err)
		if !c.sleep(c.timing.backoff(n)) {
			return c.ctx.Err()
		}
	}
}

// giveUp ends all work when the vault proves damaged: going on could lose what
// is still in the swarms.
func (c *Client) giveUp(err error) {
	c.log.Error("client: the vault is damaged; all work ends", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.stateLocked()
	c.cancel()
}

// sleep waits, and reports false when the client stops meanwhile.
func (c *Client) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// wait waits for a kick, or for d if it is not negative; false means stop.
func (c *Client) wait(s signal, d time.Duration) bool {
	var after <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-s:
	case <-after:
	case <-c.ctx.Done():
		return false
	}
	return c.ctx.Err() == nil
}

// random returns a uniform duration in [lo, hi].
func (c *Client) random(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	var b [8]byte
	if _, err := io.ReadFull(c.rand, b[:]); err != nil {
		return hi
	}
	return lo + time.Duration(binary.BigEndian.Uint64(b[:])%uint64(hi-lo+1))
}

// jitter spreads a pause over its upper half.
func (c *Client) jitter(d time.Duration) time.Duration { return c.random(d/2, d) }

func (c *Client) nowMilli() int64 { return c.now().UnixMilli() }
