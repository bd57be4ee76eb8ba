package circuit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// telescope is a circuit under construction: each step of spec/circuit.md §5.1
// adds a hop.
type telescope struct {
	shake  func(context.Context, directory.Node, uint8) (*onion.ClientHandshake, []byte, error)
	now    func() time.Time
	link   *link.Link
	ch     *link.Channel
	onion  onion.ClientCircuit
	unpack [hops]onion.Unpacker
	rtt    time.Duration // of the last step
}

// buildError says at which hop a build failed.
type buildError struct {
	hop  int
	node directory.Node
	err  error
}

func (e *buildError) Error() string {
	place := [hops]string{"guard", "middle", "exit"}[e.hop]
	return fmt.Sprintf("%s %s: %v", place, e.node.Operator, e.err)
}

func (e *buildError) Unwrap() error { return e.err }

// telescopeTo builds a circuit along path, again and again as long as a node is
// busy and we pay more. On success the caller owns the telescope's channel.
func (m *Manager) telescopeTo(path directory.Path) (*telescope, error) {
	pay := payments{m.efforts.of(path.Guard.ID, m.cfg.Now())}
	for {
		t, err := m.tryTelescope(path, pay)
		var at *buildError
		if !errors.As(err, &at) || !m.payMore(at, &pay) {
			return t, err
		}
	}
}

// tryTelescope is one attempt.
func (m *Manager) tryTelescope(path directory.Path, pay payments) (_ *telescope, err error) {
	ctx, cancel := context.WithTimeout(m.ctx, buildTimeout)
	defer cancel()
	nodes := [hops]directory.Node{path.Guard, path.Middle, path.Exit}
	t := &telescope{shake: m.handshake, now: m.cfg.Now}
	if t.link, err = m.cfg.Endpoint.Get(ctx, path.Guard); err == nil {
		t.ch, err = t.link.Open(ctx)
	}
	if err != nil {
		return nil, &buildError{hop: 0, node: nodes[0], err: err}
	}
	// A build that takes too long is ended by its channel.
	stop := context.AfterFunc(ctx, func() { t.ch.Abort(link.Code(onion.ReasonTimeout)) })
	for hop, node := range nodes {
		if err := t.addHop(ctx, hop, node, pay[hop]); err != nil {
			_, err = channelError(t.link, err)
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			stop()
			t.ch.Abort(link.Code(onion.ReasonDone))
			var leaving *leavingError
			if errors.As(err, &leaving) {
				hop, node = leaving.hop, nodes[leaving.hop]
			}
			return nil, &buildError{hop, node, err}
		}
	}
	if !stop() {
		return nil, &buildError{hop: exitHop, node: nodes[exitHop], err: ctx.Err()}
	}
	return t, nil
}

// addHop makes the handshake with node, pays it, and adds its layer.
func (t *telescope) addHop(ctx context.Context, hop int, node directory.Node, paid uint8) error {
	shake, create, err := t.shake(ctx, node, paid)
	if err != nil {
		return err
	}
	start := t.now()
	var created []byte
	if hop == 0 {
		created, err = t.create(create)
	} else {
		created, err = t.extend(hop-1, node.ID, create)
	}
	if err != nil {
		return err
	}
	keys, _, err := shake.Finish(created)
	if err != nil {
		return err
	}
	t.rtt = t.now().Sub(start)
	return t.onion.AddHop(keys)
}

// create exchanges CREATE and CREATED with the guard.
func (t *telescope) create(create []byte) ([]byte, error) {
	out, err := onion.SplitCreate(create, t.ch.CircID(), onion.CmdCreate)
	if err != nil {
		return nil, err
	}
	if err := t.ch.WriteCells(&out[0], &out[1]); err != nil {
		return nil, err
	}
	var in [2]onion.Cell
	for i := range in {
		if err := t.readCell(&in[i]); err != nil {
			return nil, err
		}
	}
	return onion.JoinCreate(&in[0], &in[1], onion.CmdCreated)
}

// extend asks the last hop for another and returns the new hop's answer. Its
// cells are RELAY_EARLY, which relays count (spec/circuit.md §4.2).
func (t *telescope) extend(last int, node identity.NodeID, create []byte) ([]byte, error) {
	var p onion.Packer
	if err := p.Add(onion.Extend(node, create)); err != nil {
		return nil, err
	}
	var cells []*onion.Cell
	for p.Pending() > 0 {
		cell := new(onion.Cell)
		cell.SetHeader(t.ch.CircID(), onion.CmdRelayEarly)
		p.Next(cell.Payload())
		if _, err := t.onion.Seal(last, cell, cell.Payload()); err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	if err := t.ch.WriteCells(cells...); err != nil {
		return nil, err
	}
	return t.awaitExtended(last)
}

// awaitExtended reads until last has sent the new hop's answer.
func (t *telescope) awaitExtended(last int) (created []byte, err error) {
	for created == nil {
		var cell onion.Cell
		if err := t.readCell(&cell); err != nil {
			return nil, err
		}
		if cell.Command() != onion.CmdRelay {
			return nil, fmt.Errorf("%w: %v while extending", errProtocol, cell.Command())
		}
		hop, payload, _, err := t.onion.Open(&cell)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errGarbled, err)
		}
		_, err = t.unpack[hop].Feed(payload, func(m onion.Message) error {
			if m.Command == onion.MsgTruncated {
				if err := checkTruncated(hop, m); err != nil {
					return err
				}
				return &leavingError{hop}
			}
			if hop != last || created != nil {
				return unexpected(hop, m)
			}
			answer, err := m.Created()
			created = append([]byte(nil), answer...) // it aliases the cell
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errProtocol, err)
		}
	}
	return created, nil
}

// readCell reads the next cell that is not padding. DESTROY is an error.
func (t *telescope) readCell(cell *onion.Cell) error {
	for {
		if err := t.ch.ReadCell(cell); err != nil {
			return err
		}
		if err := onion.CheckHeader(cell); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		if cell.CircID() != t.ch.CircID() {
			return fmt.Errorf("%w: cell of another circuit", errProtocol)
		}
		switch cell.Command() {
		case onion.CmdPadding:
			continue
		case onion.CmdDestroy:
			return &ReasonError{cell.DestroyReason()}
		}
		return nil
	}
}

// blame says what a failed build shows: that the guard failed, or that a later
// node could not be reached, or neither.
func (e *buildError) blame() (guard, later bool) {
	if errors.Is(e.err, context.Canceled) {
		return false, false
	}
	if e.hop == 0 || errors.Is(e.err, errLinkLost) {
		return true, false
	}
	var why *ReasonError
	if errors.As(e.err, &why) {
		switch why.Reason {
		case onion.ReasonUnreachable, onion.ReasonTimeout, onion.ReasonLinkLost, onion.ReasonLimit, onion.ReasonShutdown, onion.ReasonBusy:
			return false, true
		}
	}
	return false, errors.Is(e.err, context.DeadlineExceeded) || errors.Is(e.err, errTooDear)
}

// refused reports whether the guard itself said no, and so was there.
func (e *buildError) refused() bool {
	var why *ReasonError
	return e.hop == 0 && (errors.As(e.err, &why) || errors.Is(e.err, errTooDear))
}
