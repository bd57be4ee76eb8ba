package swarm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/mailbox"
)

func TestCopyingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began := time.Now()
		const total, piece = 10 * copyRate, 1 << 20
		for range total / piece {
			if err := p.take(t.Context(), piece); err != nil {
				t.Fatal(err)
			}
		}
		want := time.Duration(total-copyBurst) * time.Second / copyRate
		if took := time.Since(began); took < want || took > want+time.Second {
			t.Errorf("10 s worth of bytes took %v", took)
		}
		time.Sleep(time.Hour) // rest earns one burst
		began = time.Now()
		if err := p.take(t.Context(), copyBurst); err != nil || time.Since(began) > 0 {
			t.Errorf("a burst took %v, %v", time.Since(began), err)
		}
		if err := p.take(t.Context(), 6*copyRate); !errors.Is(err, mailbox.ErrBusy) {
			t.Errorf("what would take 6 s: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.take(ctx, copyRate); !errors.Is(err, context.Canceled) {
			t.Errorf("one that gave up: %v", err)
		}
	})
}
