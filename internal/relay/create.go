package relay

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// errProtocol is a breach of spec/circuit.md by a neighbour or a client.
var errProtocol = errors.New("relay: protocol broken")

// serveCircuit answers CREATE on a channel and serves the circuit until it
// ends. The channel has a place among the half-open ones.
func (r *Relay) serveCircuit(ctx context.Context, ch *link.Channel, place *list.Element, peer identity.NodeID, fromNode bool) {
	keys, err := r.answerCreate(ctx, ch)
	r.halfOpen.end(place)
	if err != nil {
		ch.Abort(link.Code(reasonOf(err)))
		return
	}
	c := newCircuit(ctx, r, ch, onion.NewRelayCircuit(keys))
	c.prevNode, c.prevIsNode = peer, fromNode
	if !r.add(c) {
		c.destroy(onion.ReasonShutdown)
		return
	}
	c.serve()
	r.remove(c)
}

// answerCreate is spec/circuit.md §4.1.
func (r *Relay) answerCreate(ctx context.Context, ch *link.Channel) (*onion.Keys, error) {
	stop := context.AfterFunc(ctx, func() { ch.Abort(link.Code(onion.ReasonShutdown)) })
	defer stop()
	deadline := time.Now().Add(r.limits.CreateTimeout)
	if err := ch.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	create, err := readHandshake(ch, onion.CmdCreate)
	if err != nil {
		return nil, err
	}
	created, keys, err := onion.AnswerHandshake(r.cfg.Rand, r.cfg.Identity, r.cfg.OnionSecret, create, noMessage)
	if err != nil {
		if errors.Is(err, onion.ErrVersion) || errors.Is(err, onion.ErrClass) {
			return nil, err
		}
		return nil, errProtocol // which part of it failed is not the client's to know
	}
	if err := ch.SetWriteDeadline(deadline); err != nil {
		return nil, err
	}
	if err := writeHandshake(ch, onion.CmdCreated, created); err != nil {
		return nil, err
	}
	return keys, errors.Join(ch.SetReadDeadline(time.Time{}), ch.SetWriteDeadline(time.Time{}))
}

// noMessage answers a client's message in CREATE with none: version 1 has no
// use for either.
func noMessage(onion.Class, []byte) ([]byte, error) { return nil, nil }

// readHandshake reads the two cells of a CREATE or a CREATED.
func readHandshake(ch channel, cmd onion.Command) ([]byte, error) {
	var parts [2]onion.Cell
	for i := range parts {
		if err := ch.ReadCell(&parts[i]); err != nil {
			return nil, err
		}
		if err := onion.CheckHeader(&parts[i]); err != nil {
			return nil, err
		}
		if parts[i].CircID() != ch.CircID() {
			return nil, errProtocol
		}
		if parts[i].Command() == onion.CmdDestroy {
			return nil, &destroyedError{parts[i].DestroyReason()}
		}
	}
	return onion.JoinCreate(&parts[0], &parts[1], cmd)
}

func writeHandshake(ch channel, cmd onion.Command, handshake []byte) error {
	parts, err := onion.SplitCreate(handshake, ch.CircID(), cmd)
	if err != nil {
		return err
	}
	return ch.WriteCells(&parts[0], &parts[1])
}

// destroyedError is a DESTROY cell as an error.
type destroyedError struct{ why onion.Reason }

// Error implements error.
func (*destroyedError) Error() string { return "relay: circuit was destroyed" }

// reasonOf says why a circuit ends, from what went wrong with a channel.
func reasonOf(err error) onion.Reason {
	var reset *link.ResetError
	var destroyed *destroyedError
	var timeout net.Error
	switch {
	case errors.As(err, &destroyed):
		return destroyed.why.Known()
	case errors.As(err, &reset):
		return onion.Reason(min(reset.Code, 255)).Known()
	case errors.Is(err, io.EOF):
		return onion.ReasonDone
	case errors.Is(err, onion.ErrVersion):
		return onion.ReasonVersion
	case errors.Is(err, onion.ErrClass):
		return onion.ReasonRefused
	case errors.Is(err, errProtocol), errors.Is(err, link.ErrPartialCell),
		errors.Is(err, onion.ErrCommand), errors.Is(err, onion.ErrReserved), errors.Is(err, onion.ErrCreate),
		errors.Is(err, onion.ErrMessage), errors.Is(err, onion.ErrMessageTooLong), errors.Is(err, onion.ErrWindow):
		return onion.ReasonProtocol
	case errors.Is(err, context.DeadlineExceeded):
		return onion.ReasonTimeout
	case errors.As(err, &timeout) && timeout.Timeout():
		return onion.ReasonTimeout
	}
	return onion.ReasonLinkLost
}
