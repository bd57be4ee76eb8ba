package relay

import (
	"io"
	"testing"
	"time"

	"sotto/internal/onion"
)

// A client that acknowledges what has not arrived, to make the exit send more,
// loses its circuit: it knows no tag that the exit waits for.
func TestFalseAcknowledgements(t *testing.T) {
	for name, forge := range map[string]func(tags []onion.Tag) []onion.Tag{
		"of a step that is under way": func(tags []onion.Tag) []onion.Tag { return tags[onion.CircuitStep-2 : onion.CircuitStep-1] },
		"of a later step first":       func(tags []onion.Tag) []onion.Tag { return tags[2*onion.CircuitStep-1 : 2*onion.CircuitStep] },
		"of one step twice": func(tags []onion.Tag) []onion.Tag {
			last := tags[onion.CircuitStep-1]
			return []onion.Tag{last, last}
		},
		"of what never was": func([]onion.Tag) []onion.Tag { return []onion.Tag{{1, 2, 3}} },
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, 4, Limits{}, func(t *testing.T, w *network) {
				w.nodes[2].exit.serve = func(rwc io.ReadWriteCloser) {
					_, _ = rwc.Write(make([]byte, 1<<20))
				}
				c := w.dial(w.nodes[0])
				defer c.close()
				c.create(w.nodes[0])
				tags := make(chan []onion.Tag, 1)
				c.done.Go(func() { c.readTags(onion.StartWindow, tags) })
				c.extend(w.nodes[1])
				c.extend(w.nodes[2])
				c.send(onion.Begin(1, w.nodes[3].ID))
				for _, tag := range forge(<-tags) {
					check(t, c.trySend(2, onion.Sendme(tag)))
				}
				c.expectEnd(onion.ReasonProtocol)
				time.Sleep(5 * linkLatency)
				for _, n := range w.nodes {
					n.checkEmpty(t)
				}
			})
		})
	}
}

// readTags reads as read does, but acknowledges nothing: it hands out the tags
// of the first n cells that hold DATA.
func (c *client) readTags(n int, out chan<- []onion.Tag) {
	unpackers := make([]onion.Unpacker, onion.MaxHops)
	var tags []onion.Tag
	for {
		var cell onion.Cell
		err := c.ch.ReadCell(&cell)
		if err != nil {
			c.end(err)
			return
		}
		hop, payload, tag, err := c.layers.Open(&cell)
		if err != nil {
			c.end(err)
			return
		}
		data, err := unpackers[hop].Feed(payload, func(m onion.Message) error {
			if m.Command == onion.MsgData {
				return nil
			}
			return c.handle(hop, m)
		})
		if err != nil {
			c.end(err)
			return
		}
		if data {
			if tags = append(tags, tag); len(tags) == n {
				out <- tags
			}
		}
	}
}
