package relay

import (
	"io"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"sotto/internal/identity"
	"sotto/internal/onion"
)

// A circuit that takes all of a node's places gives them back, one at a time, to
// others that want some.
func TestTargetIsShared(t *testing.T) {
	inSim(t, 4, Limits{MaxTargetStreams: 8}, func(t *testing.T, w *network) {
		exit := w.nodes[2]
		exit.exit.serve = func(rwc io.ReadWriteCloser) { _, _ = io.Copy(io.Discard, rwc) }
		greedy, modest := w.circuit(w.nodes[0], w.nodes[1], exit), w.circuit(w.nodes[0], w.nodes[1], exit)
		defer greedy.close()
		defer modest.close()
		for id := range uint16(8) {
			greedy.send(onion.Begin(id+1, w.nodes[3].ID))
			greedy.expect(onion.MsgConnected)
		}
		greedy.send(onion.Begin(9, w.nodes[3].ID))
		if why, err := greedy.expect(onion.MsgEnd).Reason(); err != nil || why != onion.ReasonLimit {
			t.Errorf("one more of the same circuit: %v, %v", why, err)
		}
		for id := range uint16(4) {
			modest.send(onion.Begin(id+1, w.nodes[3].ID))
			modest.expect(onion.MsgConnected)
			end := greedy.expect(onion.MsgEnd)
			if why, err := end.Reason(); err != nil || why != onion.ReasonLimit || end.Stream != 8-id {
				t.Errorf("stream %d ended with %v, %v", end.Stream, why, err)
			}
		}
		modest.send(onion.Begin(5, w.nodes[3].ID))
		if why, err := modest.expect(onion.MsgEnd).Reason(); err != nil || why != onion.ReasonLimit {
			t.Errorf("more than its share: %v, %v", why, err)
		}
		modest.send(onion.Begin(6, w.nodes[1].ID)) // another node has room
		modest.expect(onion.MsgConnected)
		synctest.Wait()
		if n := exit.relay.targets.len(); n != 9 {
			t.Errorf("%d streams are counted, want 9", n)
		}
	})
}

// Whoever comes and goes, no more streams stand than may, and who has less is
// never driven out by who has more.
func TestTargetsKeepTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := targets{max: rapid.IntRange(1, 10).Draw(t, "max")}
		circuits := []*circuit{{}, {}, {}, {}}
		own := map[*circuit]int{}
		var live []*stream
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if len(live) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "who")
				table.leave(live[i])
				table.leave(live[i])
				own[live[i].c]--
				live = append(live[:i:i], live[i+1:]...)
			} else {
				s := &stream{c: circuits[rapid.IntRange(0, 3).Draw(t, "circuit")], target: identity.NodeID{1}}
				victim, ok := table.enter(s)
				if victim != nil {
					if own[victim.c] < own[s.c]+2 {
						t.Fatalf("a circuit of %d gave way to one of %d", own[victim.c], own[s.c])
					}
					own[victim.c]--
					for i := range live {
						if live[i] == victim {
							live = append(live[:i:i], live[i+1:]...)
							break
						}
					}
				}
				if ok {
					own[s.c]++
					live = append(live, s)
				}
			}
			if table.len() != len(live) || len(live) > table.max {
				t.Fatalf("%d streams, counted as %d, of at most %d", len(live), table.len(), table.max)
			}
		}
		for _, s := range live {
			table.leave(s)
		}
		if len(table.byNode) != 0 {
			t.Fatal("something is left")
		}
	})
}
