package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"sotto/internal/link"
	"sotto/internal/onion"
)

// errProtocol is a breach of spec/circuit.md by a neighbour or a client.
var errProtocol = errors.New("relay: protocol broken")

// errBusy refuses a CREATE for which there is no time.
var errBusy = errors.New("relay: busy")

// serveCircuit answers CREATE on a channel, after a wait, and serves the
// circuit until it ends.
func (r *Relay) serveCircuit(ctx context.Context, ch *link.Channel, from *neighbour, wait time.Duration) {
	stop := context.AfterFunc(ctx, func() { ch.Abort(link.Code(onion.ReasonShutdown)) })
	keys, err := r.answerCreate(ctx, ch, from, wait)
	stop()
	if err != nil {
		why := reasonOf(err)
		ch.Abort(link.Code(why))
		r.metrics.refused(why)
		return
	}
	c := newCircuit(ctx, r, ch, onion.NewRelayCircuit(keys))
	c.prevNode, c.prevIsNode = from.id, from.isNode
	if !r.add(c) {
		c.destroy(onion.ReasonShutdown)
		return
	}
	ch.AllowPadding()
	c.serve()
	r.remove(c)
}

// answerCreate is spec/circuit.md §4.1.
func (r *Relay) answerCreate(ctx context.Context, ch *link.Channel, from *neighbour, wait time.Duration) (*onion.Keys, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limits.CreateTimeout)
	defer cancel()
	if err := sleep(ctx, wait, from.link.Done()); err != nil {
		return nil, err
	}
	create, err := r.readCreate(ctx, ch, from)
	if err != nil {
		return nil, err
	}
	effort, err := r.checkWork(create)
	if err != nil {
		return nil, err
	}
	created, keys, err := r.handshake(ctx, create, effort)
	if err != nil {
		return nil, err
	}
	if err := ch.SetWriteDeadline(deadlineOf(ctx)); err != nil {
		return nil, err
	}
	if err := writeHandshake(ch, onion.CmdCreated, created); err != nil {
		return nil, err
	}
	return keys, errors.Join(ch.SetReadDeadline(time.Time{}), ch.SetWriteDeadline(time.Time{}))
}

// sleep waits, unless ctx ends or the link does.
func sleep(ctx context.Context, d time.Duration, gone <-chan struct{}) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-gone:
		return link.ErrLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

func deadlineOf(ctx context.Context) time.Time {
	t, _ := ctx.Deadline() // answerCreate gave it one
	return t
}

// readCreate reads a whole CREATE; meanwhile the channel is half-open.
func (r *Relay) readCreate(ctx context.Context, ch *link.Channel, from *neighbour) ([]byte, error) {
	place := r.halfOpen.start(ch, from)
	defer r.halfOpen.end(place)
	if err := ch.SetReadDeadline(deadlineOf(ctx)); err != nil {
		return nil, err
	}
	return readHandshake(ch, onion.CmdCreate)
}

// checkWork refuses work that is not valid or was used before, before anything
// dear is done.
func (r *Relay) checkWork(create []byte) (effort uint8, err error) {
	now := r.cfg.Now()
	effort, proof, err := onion.CheckWork(r.cfg.Identity, create, now)
	if err != nil || effort == 0 {
		return 0, err
	}
	return effort, r.creation.use(proof, now)
}

// handshake answers a CREATE when its turn comes.
func (r *Relay) handshake(ctx context.Context, create []byte, effort uint8) ([]byte, *onion.Keys, error) {
	if err := r.creation.enter(ctx, effort); err != nil {
		return nil, nil, err
	}
	defer r.creation.leave()
	r.metrics.answered.Inc()
	created, keys, err := onion.AnswerHandshake(r.cfg.Rand, r.cfg.Identity, r.cfg.OnionSecret, create, noMessage)
	if err != nil {
		return nil, nil, errProtocol // which part of it failed is not the client's to know
	}
	return created, keys, nil
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
	case errors.Is(err, onion.ErrClass), errors.Is(err, onion.ErrWork), errors.Is(err, onion.ErrReplay):
		return onion.ReasonRefused
	case errors.Is(err, errBusy):
		return onion.ReasonBusy
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
