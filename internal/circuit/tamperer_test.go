package circuit_test

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// tamperer is a relay that forwards as it should until it is told to flip a bit
// of the next cells, to mark them, or to swallow them.
type tamperer struct {
	nodes []int
	flip  atomic.Bool // of every cell toward the client
	back  atomic.Bool // of every cell away from the client
	mark  atomic.Bool // every cell is made RELAY_EARLY, either way
	mute  atomic.Bool // nothing is forwarded

	// see, if set, is shown every cell between a client and this guard.
	see func(cell *onion.Cell, toward bool)
}

func (e *tamperer) is(i int) bool { return slices.Contains(e.nodes, i) }

// serve answers links until ctx is done.
func (e *tamperer) serve(ctx context.Context, w *network, self directory.LocalNode, end *link.Endpoint) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		l, err := end.Accept(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			for {
				ch, err := l.Accept(ctx)
				if err != nil {
					return
				}
				_, fromNode := l.Peer()
				wg.Go(func() { e.circuit(ctx, w, self, end, ch, !fromNode && e.see != nil) })
			}
		})
	}
}

// circuit serves one circuit; any error ends it.
func (e *tamperer) circuit(ctx context.Context, w *network, self directory.LocalNode, end *link.Endpoint, prev *link.Channel, watched bool) {
	defer prev.Abort(0)
	stop := context.AfterFunc(ctx, func() { prev.Abort(0) })
	defer stop()
	layer, err := e.create(self, prev)
	if err != nil {
		return
	}
	var unpack onion.Unpacker
	var next *link.Channel
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		var cell onion.Cell
		if prev.ReadCell(&cell) != nil {
			break
		}
		if watched {
			e.see(&cell, false)
		}
		if cell.Command() == onion.CmdPadding {
			continue
		}
		mine, payload, _ := layer.Outbound(&cell)
		if !mine {
			if next == nil {
				break
			}
			if e.mute.Load() {
				continue
			}
			cell.SetCircID(next.CircID())
			if e.back.Load() {
				cell.Body()[700] ^= 4
			}
			e.marked(&cell)
			if next.WriteCells(&cell) != nil {
				break
			}
			continue
		}
		_, err := unpack.Feed(payload, func(m onion.Message) error {
			if m.Command != onion.MsgExtend {
				return nil // an exit that answers nothing
			}
			if next, err = e.extend(ctx, w, end, prev, layer, m); err == nil {
				wg.Go(func() { e.toward(layer, prev, next, watched) })
			}
			return err
		})
		if err != nil {
			break
		}
	}
	if next != nil {
		next.Abort(0)
	}
}

func (e *tamperer) create(self directory.LocalNode, prev *link.Channel) (*onion.RelayCircuit, error) {
	var in [2]onion.Cell
	for i := range in {
		if err := prev.ReadCell(&in[i]); err != nil {
			return nil, err
		}
	}
	create, err := onion.JoinCreate(&in[0], &in[1], onion.CmdCreate)
	if err != nil {
		return nil, err
	}
	created, keys, err := onion.AnswerHandshake(rand.Reader, self.Node.ID, self.Onion, create,
		func(onion.Class, []byte) ([]byte, error) { return nil, nil })
	if err != nil {
		return nil, err
	}
	out, err := onion.SplitCreate(created, prev.CircID(), onion.CmdCreated)
	if err != nil {
		return nil, err
	}
	return onion.NewRelayCircuit(keys), prev.WriteCells(&out[0], &out[1])
}

func (e *tamperer) extend(ctx context.Context, w *network, end *link.Endpoint, prev *link.Channel, layer *onion.RelayCircuit, m onion.Message) (*link.Channel, error) {
	id, create, err := m.Extension()
	if err != nil {
		return nil, err
	}
	node, _ := w.source.Current().Node(id)
	l, err := end.Get(ctx, node)
	if err != nil {
		return nil, err
	}
	next, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	out, err := onion.SplitCreate(create, next.CircID(), onion.CmdCreate)
	if err != nil {
		return nil, err
	}
	if err := next.WriteCells(&out[0], &out[1]); err != nil {
		return nil, err
	}
	var in [2]onion.Cell
	for i := range in {
		if err := next.ReadCell(&in[i]); err != nil {
			return nil, err
		}
	}
	created, err := onion.JoinCreate(&in[0], &in[1], onion.CmdCreated)
	if err != nil {
		return nil, err
	}
	var p onion.Packer
	if err := p.Add(onion.Extended(created)); err != nil {
		return nil, err
	}
	for p.Pending() > 0 {
		var cell onion.Cell
		cell.SetHeader(prev.CircID(), onion.CmdRelay)
		p.Next(cell.Payload())
		if _, err := layer.Originate(&cell, cell.Payload()); err != nil {
			return nil, err
		}
		if err := prev.WriteCells(&cell); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// marked changes the command of a cell that passes, if that is due.
func (e *tamperer) marked(cell *onion.Cell) {
	if e.mark.Load() {
		cell.SetHeader(cell.CircID(), onion.CmdRelayEarly)
	}
}

// toward passes cells to the client.
func (e *tamperer) toward(layer *onion.RelayCircuit, prev, next *link.Channel, watched bool) {
	defer prev.Abort(0)
	for {
		var cell onion.Cell
		if next.ReadCell(&cell) != nil {
			return
		}
		if e.mute.Load() {
			continue
		}
		if cell.Command() == onion.CmdPadding {
			continue
		}
		layer.Inbound(&cell)
		cell.SetCircID(prev.CircID())
		if e.flip.Load() {
			cell.Body()[3] ^= 1
		}
		e.marked(&cell)
		if watched {
			e.see(&cell, true)
		}
		if prev.WriteCells(&cell) != nil {
			return
		}
	}
}
