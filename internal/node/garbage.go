package node

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// The collector's pace. Go lets garbage grow as large as what lives, which a
// node with 100,000 subscriptions would pay for with 120 MB that it never needs.
// Collecting oftener costs time only where much lives, and little while nothing
// is allocated, as in a node whose subscriptions are idle.
const (
	// garbageMax is how much garbage may gather.
	garbageMax = 48 << 20
	// garbageLeast is the least share of what lives that may gather, in percent,
	// so that collecting takes a bounded part of a node's time.
	garbageLeast = 25
	garbageUsual = 100
	// paceEvery is how often the pace follows what lives.
	paceEvery = 5 * time.Second
	// liveMetric is what the last collection found alive, in bytes.
	liveMetric = "/gc/heap/live:bytes"
)

// PaceCollector bounds the garbage of a process that runs a node, until the
// function that it returns is called. An operator who sets GOGC decides alone.
func PaceCollector() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(garbageUsual)
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { paceCollector(end) })
	return func() {
		close(end)
		wg.Wait()
		debug.SetGCPercent(before)
	}
}

func paceCollector(end <-chan struct{}) {
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	live := []metrics.Sample{{Name: liveMetric}}
	for now := garbageUsual; ; {
		select {
		case <-tick.C:
		case <-end:
			return
		}
		metrics.Read(live)
		// Each setting stops the world for a moment; small steps are not worth it.
		if next := garbagePercent(live[0].Value.Uint64()); next < now-now/8 || next > now+now/8 {
			debug.SetGCPercent(next)
			now = next
		}
	}
}

// garbagePercent is how much garbage may gather beside so many bytes that live,
// in percent of them.
func garbagePercent(live uint64) int {
	return int(min(max(garbageMax*100/max(live, 1), garbageLeast), garbageUsual))
}
