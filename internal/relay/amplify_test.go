package relay

import (
	"sync/atomic"
	"testing"
	"time"

	"sotto/internal/onion"
)

// Nothing that a client packs into one cell makes a hop answer with more than
// one: a relay is no amplifier against the links before it.
func TestOneCellIsAnsweredByOne(t *testing.T) {
	const probeSize, beginSize = onion.MessageHeaderSize + 8, onion.MessageHeaderSize + 32
	var probes, begins []onion.Message
	for i := range onion.PayloadSize / probeSize {
		probes = append(probes, onion.Probe([8]byte{byte(i)}))
	}
	for i := range onion.PayloadSize / beginSize {
		begins = append(begins, onion.Begin(uint16(i+1), [32]byte{1})) // no node
	}
	for name, tc := range map[string]struct {
		messages []onion.Message
		answer   onion.MsgCommand
	}{
		"probes":          {probes, onion.MsgProbeReply},
		"refused streams": {begins, onion.MsgEnd},
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
				var toward atomic.Int64
				w.nodes[0].tapNext(ignore, func(*onion.Cell) { toward.Add(1) })
				c := w.circuit(w.nodes[0], w.nodes[1], w.nodes[2])
				defer c.close()
				before := toward.Load()
				c.send(tc.messages...)
				for range tc.messages {
					c.expect(tc.answer)
				}
				time.Sleep(5 * linkLatency)
				if n := toward.Load() - before; n != 1 {
					t.Errorf("%d messages in one cell were answered with %d cells", len(tc.messages), n)
				}
			})
		})
	}
}
