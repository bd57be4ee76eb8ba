package circuit_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/onion"
	"sotto/internal/padding"
	"sotto/internal/simnet"
)

// counter counts RELAY cells that a client sends to its guard, and the runs of
// a train's length and more among them.
type counter struct {
	mu     sync.Mutex
	cells  int
	trains int
	runs   map[uint32]*run // by circuit
}

func (n *counter) cell(c *onion.Cell, toward bool) {
	if toward || c.Command() != onion.CmdRelay {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cells++
	r := n.runs[c.CircID()]
	if r == nil || time.Since(r.last) > silence {
		r = &run{}
		n.runs[c.CircID()] = r
	}
	r.last = time.Now()
	if r.bytes++; r.bytes == padding.PutTrain {
		n.trains++
	}
}

// during returns what was counted while f ran.
func (n *counter) during(f func()) (cells, trains int) {
	n.mu.Lock()
	beforeCells, beforeTrains := n.cells, n.trains
	n.mu.Unlock()
	f()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cells - beforeCells, n.trains - beforeTrains
}

// At level low there are no dummies, and at any other a message as long as one
// takes the place of the next (spec/padding.md §5.3). With a message each second
// a dummy remains only where two of them fell into the same second: one of six.
func TestMessagesReplaceDummies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &counter{runs: map[uint32]*run{}}
		n := simnet.New(simnet.Config{Latency: 5 * time.Millisecond})
		defer n.Close()
		w := startNetworkOf(t, 9, 4433, n.PacketConn, &tamperer{nodes: []int{0}, see: seen.cell}, echoDialer{})
		defer w.stop()
		c := throughGuard(t, w)
		defer c.stop(t)
		const during = 10 * time.Minute
		quiet := func() { time.Sleep(during) }
		s, err := c.OpenStream(t.Context(), circuit.Isolation{Purpose: circuit.Receive}, farFrom(t, w, c))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		message := make([]byte, putBytes)
		talk := func() {
			for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(time.Second) {
				if err := echo(s, message); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range onion.MaxEarly { // until all cells are RELAY
			if err := echo(s, message); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // another circuit takes the place of the one in use
		lowQuiet, lowTrains := seen.during(quiet)
		lowTalk, _ := seen.during(talk)
		c.SetCover(padding.High)
		time.Sleep(time.Minute) // hops are told
		highTalk, _ := seen.during(talk)
		highQuiet, highTrains := seen.during(quiet)
		t.Logf("cells: low %d, with messages %d; high %d, with messages %d", lowQuiet, lowTalk, highQuiet, highTalk)
		if lowTrains > 0 {
			t.Errorf("%d trains at level low", lowTrains)
		}
		if highTrains < 60 { // 120 are due, with a deviation of 11
			t.Fatalf("%d trains at level high in %v", highTrains, during)
		}
		if dummies, alone := highTalk-lowTalk, highQuiet-lowQuiet; dummies > alone/2 {
			t.Errorf("%d cells of dummies beside messages, %d without: these replace too few", dummies, alone)
		}
	})
}
