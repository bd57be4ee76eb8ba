package relay

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
)

func TestHalfOpenIsBounded(t *testing.T) {
	limits := Limits{MaxHalfOpen: 8 * clientHalfOpenShare, MaxClientCircuits: 20}
	inSim(t, 2, limits, func(t *testing.T, w *network) {
		c := w.dial(w.nodes[0])
		defer c.close()
		var first onion.Cell
		var open []*link.Channel
		open = append(open, c.ch)
		first.SetHeader(c.ch.CircID(), onion.CmdCreate)
		check(t, c.ch.WriteCells(&first))
		for range 11 {
			ch := openChannel(t, c.endpoint, w.nodes[0])
			first.SetHeader(ch.CircID(), onion.CmdCreate)
			check(t, ch.WriteCells(&first))
			open = append(open, ch)
		}
		start := time.Now()
		refused := map[onion.Reason]int{}
		for _, ch := range open {
			refused[reasonOf(ch.Wait())]++
		}
		if refused[onion.ReasonLimit] != 4 || refused[onion.ReasonTimeout] != 8 {
			t.Errorf("ends of 12 half-open channels: %v", refused)
		}
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("half-open for %v", d)
		}
		c.ch = openChannel(t, c.endpoint, w.nodes[0])
		c.create(w.nodes[0]) // there is room again
	})
}

// TestHalfOpenKeepsNobodyOut takes all places without a word: another client's
// CREATE is answered at once all the same.
func TestHalfOpenKeepsNobodyOut(t *testing.T) {
	inSim(t, 2, Limits{MaxHalfOpen: 8}, func(t *testing.T, w *network) {
		for range 9 {
			silent := w.dial(w.nodes[0])
			defer silent.close()
			var first onion.Cell
			first.SetHeader(silent.ch.CircID(), onion.CmdCreate)
			check(t, silent.ch.WriteCells(&first))
		}
		time.Sleep(5 * linkLatency)
		synctest.Wait()
		if n := w.nodes[0].relay.halfOpen.len(); n != 8 {
			t.Fatalf("%d places are taken, want all 8", n)
		}
		start := time.Now()
		c := w.dial(w.nodes[0])
		defer c.close()
		c.create(w.nodes[0])
		if d := time.Since(start); d > time.Second {
			t.Errorf("CREATE was answered after %v", d)
		}
	})
}

func TestCreateRefusals(t *testing.T) {
	inSim(t, 2, Limits{}, func(t *testing.T, w *network) {
		c := w.dial(w.nodes[0])
		defer c.close()
		_, valid, err := onion.StartHandshake(rand.Reader, w.nodes[0].ID, w.nodes[0].OnionKey, onion.ClassStream, nil)
		check(t, err)
		_, other, err := onion.StartHandshake(rand.Reader, w.nodes[1].ID, w.nodes[1].OnionKey, onion.ClassStream, nil)
		check(t, err)
		changed := func(at int, b byte) []byte {
			out := bytes.Clone(valid)
			out[at] = b
			return out
		}
		for name, tc := range map[string]struct {
			create []byte
			want   onion.Reason
		}{
			"other version":     {changed(0, 2), onion.ReasonVersion},
			"other class":       {changed(1, 9), onion.ReasonRefused},
			"altered":           {changed(500, valid[500]^1), onion.ReasonProtocol},
			"for another relay": {other, onion.ReasonProtocol},
		} {
			check(t, writeHandshake(c.ch, onion.CmdCreate, tc.create))
			if why := reasonOf(c.ch.Wait()); why != tc.want {
				t.Errorf("%s: ended with %v, want %v", name, why, tc.want)
			}
			c.ch = openChannel(t, c.endpoint, w.nodes[0])
		}
		check(t, writeHandshake(c.ch, onion.CmdCreated, valid))
		if why := reasonOf(c.ch.Wait()); why != onion.ReasonProtocol {
			t.Errorf("CREATED where CREATE is due: ended with %v", why)
		}
	})
}

func TestClientLinksAreBounded(t *testing.T) {
	inSim(t, 2, Limits{MaxClientLinks: 1}, func(t *testing.T, w *network) {
		first := w.circuit(w.nodes[0], w.nodes[1])
		defer first.close()
		second := w.dial(w.nodes[0])
		defer second.close()
		var cell onion.Cell
		if err := second.ch.ReadCell(&cell); !errors.Is(err, link.ErrLost) {
			t.Fatalf("second client's link: %v", err)
		}
	})
}

func TestCircuitsPerLinkAreBounded(t *testing.T) {
	inSim(t, 2, Limits{MaxClientCircuits: 3}, func(t *testing.T, w *network) {
		c := w.dial(w.nodes[0])
		defer c.close()
		var rest []*link.Channel
		for len(rest) < 3 {
			c.create(w.nodes[0])
			rest = append(rest, c.ch)
			c.ch = openChannel(t, c.endpoint, w.nodes[0])
			c.layers = onion.ClientCircuit{}
		}
		extra := c.ch
		check(t, writeHandshake(extra, onion.CmdCreate, make([]byte, onion.HandshakeSize)))
		if why := reasonOf(extra.Wait()); why != onion.ReasonLimit {
			t.Fatalf("fourth circuit ended with %v", why)
		}
		rest[0].Abort(0)
		time.Sleep(5 * linkLatency)
		c.ch = openChannel(t, c.endpoint, w.nodes[0])
		c.create(w.nodes[0])
	})
}
