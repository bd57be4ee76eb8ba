package relay

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/onion"
	"sotto/internal/padding"
)

// trains collects what a client receives: how many DROPs of each hop came in
// one moment.
type trains map[int][]int

// listen counts DROPs for a while; whatever else comes is returned.
func (c *client) listen(d time.Duration) (trains, []event) {
	got, other := trains{}, []event{}
	end := time.After(d)
	var last time.Time
	lastHop := -1
	for {
		select {
		case e, ok := <-c.events:
			switch {
			case !ok:
				return got, other
			case e.Command != onion.MsgDrop:
				other = append(other, e)
			case e.hop == lastHop && time.Since(last) < linkLatency:
				got[e.hop][len(got[e.hop])-1]++
			default:
				got[e.hop] = append(got[e.hop], 1)
			}
			last, lastHop = time.Now(), e.hop
		case <-end:
			return got, other
		}
	}
}

// A hop sends trains of the wanted length at the wanted rate until it is told
// not to, or asked for another (spec/padding.md §5.4).
func TestCover(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		if got, _ := c.listen(5 * time.Minute); len(got) != 0 {
			t.Fatalf("%v before anybody asked", got)
		}
		check(t, c.trySend(1, onion.Cover(6*time.Second, 5)))
		check(t, c.trySend(2, onion.Cover(12*time.Second, 4)))
		got := trains{}
		for range 12 {
			check(t, c.trySend(2, onion.Drop())) // a circuit on which nothing moves would be ended
			part, _ := c.listen(5 * time.Minute)
			for hop, sizes := range part {
				got[hop] = append(got[hop], sizes...)
			}
		}
		for hop, want := range map[int]struct{ size, low, high int }{1: {5, 500, 700}, 2: {4, 230, 370}} {
			if n := len(got[hop]); n < want.low || n > want.high {
				t.Errorf("hop %d: %d trains in an hour, want %d to %d", hop, n, want.low, want.high)
			}
			for _, cells := range got[hop] {
				if cells%want.size != 0 { // two may fall together
					t.Errorf("hop %d: a train of %d cells, want %d", hop, cells, want.size)
				}
			}
		}
		check(t, c.trySend(1, onion.Cover(0, 0)))
		c.listen(time.Second) // what was on its way
		check(t, c.trySend(2, onion.Cover(0, 3)))
		got, _ = c.listen(5 * time.Minute)
		single := func(cells int) bool { return cells%4 == 3 } // beside one of the others, maybe
		if len(got[1]) != 0 || !slices.ContainsFunc(got[2], single) {
			t.Errorf("after a stop and a wish for one train: %v", got)
		}
	})
}

// However often a client asks for one train, it gets one a second.
func TestSingleTrainsAreBounded(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		for range 100 {
			check(t, c.trySend(2, onion.Cover(0, padding.MaxTrain)))
			time.Sleep(50 * time.Millisecond)
		}
		got, _ := c.listen(time.Minute)
		cells := 0
		for _, n := range got[2] {
			cells += n
		}
		if cells < 5*padding.MaxTrain || cells > 6*padding.MaxTrain {
			t.Errorf("%d cells for five seconds of wishes, want %d", cells, 5*padding.MaxTrain)
		}
	})
}

func TestCoverIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		hop int
		m   onion.Message
	}{
		"at the guard":    {0, onion.Cover(time.Minute, 5)},
		"too often":       {1, onion.Cover(padding.MinMean-time.Millisecond, 5)},
		"too long":        {2, onion.Cover(time.Minute, padding.MaxTrain+1)},
		"on a stream":     {2, onion.Message{Command: onion.MsgCover, Stream: 1, Data: onion.Cover(time.Minute, 5).Data}},
		"without a train": {2, onion.Message{Command: onion.MsgCover}},
		"DROP on one":     {1, onion.Message{Command: onion.MsgDrop, Stream: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
				c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
				defer c.close()
				check(t, c.trySend(tc.hop, tc.m))
				c.expectEnd(onion.ReasonProtocol)
			})
		})
	}
}

// A message that an exit has just sent takes a dummy's place there.
func TestMessagesReplaceDummies(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		c.send(onion.Begin(1, w.nodes[3].ID))
		c.expect(onion.MsgConnected)
		check(t, c.trySend(2, onion.Cover(time.Minute, 5)))
		var window onion.StreamReceiveWindow
		dropped := 0
		for range 200 { // one 5 KiB push every ten seconds, through the echo
			check(t, c.write(1, make([]byte, 5*onion.MaxData)))
			got, other := c.listen(10 * time.Second)
			dropped += len(got[2])
			for _, e := range other {
				if e.Command == onion.MsgData {
					c.consume(1, &window, len(e.Data))
				}
			}
		}
		// Of 33 dummies those few remain before which no push fell: a
		// gap below ten seconds after the one before.
		if dropped > 16 {
			t.Errorf("%d dummies in 33 minutes full of messages", dropped)
		}
	})
}

// Nothing is made while something waits for the client, and nothing is left
// after the circuit's end.
func TestCoverYields(t *testing.T) {
	inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
		c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
		defer c.close()
		check(t, c.trySend(2, onion.Cover(padding.MinMean, padding.MaxTrain)))
		time.Sleep(time.Minute)
		exit := w.nodes[2].relay
		exit.mu.Lock()
		for o := range exit.circuits {
			o.sender.mu.Lock()
			o.toPrev.mu.Lock()
			o.toPrev.cells++ // as if a cell were stuck on its way
			o.toPrev.mu.Unlock()
			o.sender.mu.Unlock()
		}
		exit.mu.Unlock()
		time.Sleep(5 * linkLatency)
		synctest.Wait()
		for len(c.events) > 0 {
			<-c.events
		}
		if got, _ := c.listen(time.Minute); len(got) != 0 {
			t.Errorf("%v while the way to the client is blocked", got)
		}
	})
}
