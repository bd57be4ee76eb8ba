package client

import (
	"testing"
	"testing/synctest"

	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/padding"
)

// traffic returns what each stream so far has written and read, in bytes.
func (n *fakeNetwork) traffic() (out [][2]int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.all {
		out = append(out, [2]int64{s.wrote.Load(), s.read.Load()})
	}
	return out
}

// cellsOf is how many cells bytes of a stream take, after a message that shares
// the first.
func cellsOf(t *testing.T, first *onion.Message, n int64) (cells int) {
	t.Helper()
	var p onion.Packer
	if first != nil {
		if err := p.Add(*first); err != nil {
			t.Fatal(err)
		}
	}
	payload := make([]byte, onion.PayloadSize)
	for n > 0 {
		k := min(n, int64(onion.MaxData-p.Pending()))
		if err := p.Add(onion.Message{Command: onion.MsgData, Stream: 1, Data: make([]byte, k)}); err != nil {
			t.Fatal(err)
		}
		n -= k
		p.Next(payload)
		cells++
	}
	return cells
}

// Dummies are as long as what they imitate (spec/padding.md §3): the put of a
// short message, its answer, and its push. (A put for which the member's request
// key is fetched first is longer by that, and none is like it.)
func TestTrainsAreAsLongAsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 5)
		alice, bob := newPerson(t, s), newPerson(t, s)
		befriend(alice, bob)
		begin := onion.Begin(1, identity.NodeID{1})
		puts, pushes := 0, 0
		for range 6 {
			alices, bobs := len(alice.net.traffic()), bob.net.traffic()
			alice.reached(alice.send(bob, "a short message"), MessageDelivered)
			for _, b := range alice.net.traffic()[alices:] {
				answered := 1 + cellsOf(t, nil, b[1]) // after CONNECTED
				if cellsOf(t, &begin, b[0]) == padding.PutTrain && answered == padding.AnswerTrain {
					puts++
				}
			}
			now := bob.net.traffic()
			for i, b := range bobs {
				if n := now[i][1] - b[1]; n > 0 && cellsOf(t, nil, n) == padding.PushTrain {
					pushes++
				}
			}
		}
		if puts < 3 || pushes < 3 {
			t.Errorf("of six messages %d puts and %d pushes are as long as dummies", puts, pushes)
		}
	})
}
