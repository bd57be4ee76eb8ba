package onion

import (
	"fmt"
	"testing"
	"time"
)

// pipe is a path with one bottleneck: cells wait in one queue, leave it one at
// a time, and their SENDMEs are back after a fixed time. It is deterministic
// and has no clock.
type pipe struct {
	t       *testing.T
	now     time.Time
	base    time.Duration // from leaving the queue to the SENDME's arrival
	service time.Duration // of a cell in the queue
	free    time.Time     // when the queue will be empty
	last    time.Time     // when the last SENDME arrives: they stay in order
	coming  []arrival     // in order of time
}

type arrival struct {
	at  time.Time
	who *source
	tag Tag
}

// source always has cells to send.
type source struct {
	w         SendWindow
	r         ReceiveWindow
	sent      int
	delivered int
}

func newPipe(t *testing.T, base, service time.Duration) *pipe {
	return &pipe{t: t, now: epoch, base: base, service: service, free: epoch}
}

// send sends all that the window allows.
func (p *pipe) send(s *source) {
	for s.w.Room() > 0 {
		if p.free.Before(p.now) {
			p.free = p.now
		}
		p.free = p.free.Add(p.service)
		s.sent++
		tag := cellTag(s.sent)
		s.w.Sent(tag, p.now)
		if s.r.Received() {
			if back := p.free.Add(p.base); back.After(p.last) {
				p.last = back
			}
			p.coming = append(p.coming, arrival{p.last, s, tag})
		}
	}
}

// queue returns how many cells wait.
func (p *pipe) queue() int { return int(max(p.free.Sub(p.now), 0) / p.service) }

// run takes SENDMEs for d, and calls seen, which may be nil, after each.
func (p *pipe) run(d time.Duration, seen func()) {
	end := p.now.Add(d)
	for len(p.coming) > 0 && p.coming[0].at.Before(end) {
		a := p.coming[0]
		p.coming = p.coming[1:]
		p.now = a.at
		if err := a.who.w.Acknowledge(a.tag, p.now); err != nil {
			p.t.Fatal(err)
		}
		a.who.delivered += CircuitStep
		p.send(a.who)
		if seen != nil {
			seen()
		}
	}
	p.now = end
}

// share returns which part of what the path can carry in d went through it.
func (p *pipe) share(d time.Duration, sources ...*source) float64 {
	before := 0
	for _, s := range sources {
		before -= s.delivered
	}
	p.run(d, nil)
	for _, s := range sources {
		before += s.delivered
	}
	possible := min(1/p.service.Seconds(), float64(MaxWindow*len(sources))/(p.base+p.service).Seconds())
	return float64(before) / (possible * d.Seconds())
}

// One circuit uses nine tenths of every bottleneck, rechecks included, and never
// holds more in its queue than delta and what slow start puts on top of it
// after a recheck.
func TestCongestionFindsTheRate(t *testing.T) {
	for _, base := range []time.Duration{200 * time.Microsecond, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		for _, rate := range []int{200, 1000, 4000, 40_000} {
			t.Run(fmt.Sprintf("%v, %d cells a second", base, rate), func(t *testing.T) {
				p := newPipe(t, base, time.Second/time.Duration(rate))
				var s source
				p.send(&s)
				p.run(10*time.Second, nil)
				worst := 0
				before := s.delivered
				p.run(time.Minute, func() { worst = max(worst, p.queue()) })
				carried := float64(s.delivered-before) / 60
				possible := min(float64(rate), MaxWindow/base.Seconds())
				t.Logf("carries %.3f, window %d, queue %d at most", carried/possible, s.w.Window(), worst)
				if carried < 0.9*possible {
					t.Errorf("carries %.0f of %.0f cells a second", carried, possible)
				}
				if worst > vegasDelta+4*CircuitStep {
					t.Errorf("%d cells in the queue", worst)
				}
			})
		}
	}
}

// Slow start reaches the ceiling within four round trips where nothing queues,
// and leaves no more than its window in a queue.
func TestSlowStart(t *testing.T) {
	p := newPipe(t, 200*time.Millisecond, time.Microsecond)
	var s source
	p.send(&s)
	p.run(4*p.base, nil)
	if s.w.Window() != MaxWindow {
		t.Errorf("window %d after four round trips", s.w.Window())
	}
	slow := newPipe(t, 100*time.Millisecond, time.Millisecond)
	var q source
	slow.send(&q)
	worst := 0
	slow.run(time.Minute, func() { worst = max(worst, slow.queue()) })
	if worst > 2*StartWindow+vegasGamma {
		t.Errorf("slow start left %d cells in the queue", worst)
	}
}

// Two circuits share a bottleneck, the later one included.
func TestCongestionIsFair(t *testing.T) {
	for _, late := range []time.Duration{0, 100 * time.Millisecond, 10 * time.Second} {
		p := newPipe(t, 100*time.Millisecond, 250*time.Microsecond)
		var a, b source
		p.send(&a)
		p.run(late, nil)
		p.send(&b)
		p.run(2*time.Minute, nil)
		first, second := a.delivered, b.delivered
		used := p.share(time.Minute, &a, &b)
		first, second = a.delivered-first, b.delivered-second
		ratio := float64(max(first, second)) / float64(min(first, second))
		t.Logf("%v later: %.3f used, %d and %d cells", late, used, first, second)
		if ratio > 2.5 || used < 0.9 {
			t.Errorf("%v later: %.2f times as much, %.2f used", late, ratio, used)
		}
	}
}

// A path that becomes longer, and is used no more for that, is found out.
func TestCongestionAfterThePathChanged(t *testing.T) {
	for _, to := range []time.Duration{150 * time.Millisecond, 20 * time.Millisecond} {
		p := newPipe(t, 50*time.Millisecond, 250*time.Microsecond)
		var s source
		p.send(&s)
		p.run(20*time.Second, nil)
		p.base = to
		p.run(recheckAfter+10*time.Second, nil)
		if used := p.share(time.Minute, &s); used < 0.9 {
			t.Errorf("from 50 ms to %v: %.2f used, window %d", to, used, s.w.Window())
		}
	}
}

// A window that is not used does not grow, and one that is used again does.
func TestUnusedWindowStays(t *testing.T) {
	var w SendWindow
	now, n := epoch, 0
	round := func(cells int) {
		for range cells {
			n++
			w.Sent(cellTag(n), now)
		}
		now = now.Add(100 * time.Millisecond)
		for i := n - cells + CircuitStep; i <= n; i += CircuitStep {
			if err := w.Acknowledge(cellTag(i), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 1000 {
		round(CircuitStep)
	}
	if w.Window() != StartWindow {
		t.Fatalf("window %d though a quarter was used", w.Window())
	}
	for range 20 {
		round(w.Room() / CircuitStep * CircuitStep)
	}
	if w.Window() != MaxWindow {
		t.Fatalf("window %d though all of it was used", w.Window())
	}
}

// A clock that stands still or jumps changes no window.
func TestClockFaults(t *testing.T) {
	var w SendWindow
	n := 0
	step := func(sent, arrived time.Time) {
		t.Helper()
		for range CircuitStep {
			n++
			w.Sent(cellTag(n), sent)
		}
		if err := w.Acknowledge(cellTag(n), arrived); err != nil {
			t.Fatal(err)
		}
	}
	unchanged := func(what string, sent, arrived time.Time) {
		t.Helper()
		before := w.congestion
		step(sent, arrived)
		before.stalled, before.next = w.congestion.stalled, w.congestion.next // SENDMEs are counted all the same
		if w.congestion != before {
			t.Errorf("%s: %+v, before %+v", what, w.congestion, before)
		}
	}
	unchanged("no time at all", epoch, epoch)
	unchanged("time that runs back", epoch, epoch.Add(-time.Hour))
	unchanged("an hour and more", epoch, epoch.Add(longest+1))
	unchanged("centuries", epoch, epoch.AddDate(1000, 0, 0))
	step(epoch, epoch.Add(time.Millisecond))
	for !w.congestion.steady {
		step(epoch, epoch.Add(100*time.Millisecond))
	}
	unchanged("a jump ahead", epoch, epoch.Add(jump*200*time.Millisecond))
	unchanged("no time at all", epoch, epoch)
	unchanged("very little after a stall", epoch, epoch.Add(time.Microsecond))
	step(epoch, epoch.Add(100*time.Millisecond))
	before := w.congestion.ewma
	step(epoch, epoch.Add(time.Microsecond)) // the clock is believed again
	if w.congestion.stalled || w.congestion.ewma >= before {
		t.Errorf("a short round trip is not taken: %+v", w.congestion)
	}
}

// Many circuits at one bottleneck recheck again and again, and none takes the
// queues of the others for the path: what waits does not grow with time.
func TestRechecksDoNotCreep(t *testing.T) {
	p := newPipe(t, 100*time.Millisecond, 250*time.Microsecond)
	all := make([]source, 8)
	for i := range all {
		p.send(&all[i])
		p.run(time.Second, nil)
	}
	mean := func(d time.Duration) int {
		sum, n := 0, 0
		p.run(d, func() { sum, n = sum+p.queue(), n+1 })
		return sum / n
	}
	early := mean(2 * recheckAfter)
	p.run(10*time.Minute, nil)
	late := mean(2 * recheckAfter)
	t.Logf("%d cells wait at first, %d after ten minutes", early, late)
	if late > len(all)*vegasDelta {
		t.Errorf("%d cells wait for %d circuits", late, len(all))
	}
	least, most := all[0].delivered, all[0].delivered
	for i := range all {
		least, most = min(least, all[i].delivered), max(most, all[i].delivered)
	}
	if most > 3*least {
		t.Errorf("circuits carried between %d and %d cells", least, most)
	}
}
