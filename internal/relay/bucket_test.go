package relay

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whenever channels come, no more are admitted than the bucket holds and the
// time fills, those included that wait.
func TestBucketNeverExceedsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(1, 50).Draw(t, "rate"), rapid.IntRange(1, 100).Draw(t, "burst")
		start := time.Unix(1_800_000_000, 0)
		b, now, admitted := newBucket(rate, burst, start), start, 0
		var last time.Duration // when the last admitted one has its turn
		for range rapid.IntRange(1, 400).Draw(t, "channels") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "pause")) * time.Millisecond)
			wait, ok := b.take(now)
			if !ok {
				continue
			}
			admitted++
			if wait < 0 || wait > maxTurn {
				t.Fatalf("a turn after %v", wait)
			}
			turn := now.Add(wait).Sub(start)
			if turn < last-time.Microsecond {
				t.Fatalf("a turn at %v, before an older one's at %v", turn, last)
			}
			last = turn
			if most := float64(burst) + float64(rate)*turn.Seconds() + 1e-3; float64(admitted) > most {
				t.Fatalf("%d have had their turn after %v, at most %.1f", admitted, turn, most)
			}
		}
	})
}

func TestBucketRefusesWhatWaitsTooLong(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := newBucket(10, 60, now)
	waits := 0
	for range 60 {
		if wait, ok := b.take(now); !ok || wait > 0 {
			t.Fatalf("within the burst: %v, %v", wait, ok)
		}
	}
	for {
		wait, ok := b.take(now)
		if !ok {
			break
		}
		if waits++; wait != time.Duration(waits)*100*time.Millisecond {
			t.Fatalf("number %d waits %v", waits, wait)
		}
	}
	if waits != 10 {
		t.Errorf("%d wait, want a second's worth", waits)
	}
	if _, ok := b.take(now.Add(100 * time.Millisecond)); !ok {
		t.Error("refused, though one has had its turn")
	}
}
