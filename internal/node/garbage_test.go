package node

import (
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 10 << 20: 100, 48 << 20: 100, 96 << 20: 50, 192 << 20: 25, 1 << 40: 25} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d bytes live: %d, want %d", live, got, want)
		}
	}
}

// TestPaceCollector lets much live for a while, and looks whether the collector
// follows it both ways and is left as it was.
func TestPaceCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(70)
	defer debug.SetGCPercent(before)
	pace := func() int {
		p := debug.SetGCPercent(70)
		debug.SetGCPercent(p)
		return p
	}
	synctest.Test(t, func(t *testing.T) {
		stop := PaceCollector()
		defer stop()
		much := make([]byte, 4*garbageMax)
		runtime.GC()
		time.Sleep(2 * paceEvery)
		synctest.Wait()
		if got := pace(); got != garbageLeast {
			t.Errorf("%d %% with much alive, want %d", got, garbageLeast)
		}
		runtime.KeepAlive(much)
		much = nil
		runtime.GC()
		time.Sleep(2 * paceEvery)
		synctest.Wait()
		if got := pace(); got != garbageUsual {
			t.Errorf("%d %% with little alive, want %d", got, garbageUsual)
		}
	})
	if got := pace(); got != 70 {
		t.Errorf("left at %d %%", got)
	}
}
