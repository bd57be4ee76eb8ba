package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

// members speaks to single members of swarms in sealed requests
// (spec/mailbox.md §5.1), each for one mailbox.
type members struct {
	net  Network
	now  func() time.Time
	rand io.Reader
	keys requestKeys
	// rests is who asked to be left alone.
	rests rests
	// succession learns of newer directories.
	succession *succession
}

// route is how to get to a member: over which circuits, and not over whose exits.
type route struct {
	iso   circuit.Isolation
	avoid []circuit.Isolation
}

// dialogue is a stream on which one sealed context runs.
type dialogue struct {
	stream Stream
	opener *mailbox.ReplyOpener
	stop   func() bool
}

func (d *dialogue) close() {
	d.stop()
	d.stream.Close()
}

func (d *dialogue) read() (mailbox.Response, error) {
	frame, err := wire.ReadFrame(d.stream, mailbox.MaxFrame)
	if err != nil {
		return nil, err
	}
	return d.open(frame)
}

func (d *dialogue) open(frame []byte) (mailbox.Response, error) {
	resp, err := d.opener.Open(frame)
	if err != nil {
		return nil, err
	}
	if f, ok := resp.(*mailbox.Failure); ok {
		return nil, f
	}
	return resp, nil
}

// build makes the request for a stamp; most requests do not look at it.
type build func(mailbox.Stamp) (mailbox.Request, error)

func fixed(req mailbox.Request) build {
	return func(mailbox.Stamp) (mailbox.Request, error) { return req, nil }
}

// ask opens a stream, sends a request and returns its first response with the
// stream still open. A member that refuses because it keeps the mailbox no more
// is asked for its directory, before the refusal is returned; one that asked to
// be left alone is not asked at all.
func (m *members) ask(ctx context.Context, t target, node identity.NodeID, req build) (*dialogue, mailbox.Response, error) {
	if m.rests.left(t.at(node), m.now()) > 0 {
		return nil, nil, errResting
	}
	d, resp, err := m.askFresh(ctx, t, node, req)
	if err != nil {
		m.rests.note(t.at(node), err, m.now())
		m.succession.suspect(err)
		return nil, nil, err
	}
	return d, resp, nil
}

// askFresh is ask without what follows from refusals. A request key that the
// member has replaced is fetched anew, once.
func (m *members) askFresh(ctx context.Context, t target, node identity.NodeID, req build) (*dialogue, mailbox.Response, error) {
	d, resp, err := m.askOnce(ctx, t, node, req)
	if errors.Is(err, errStaleKey) && ctx.Err() == nil {
		m.keys.forget(t.at(node))
		d, resp, err = m.askOnce(ctx, t, node, req)
	}
	if err != nil {
		return nil, nil, err
	}
	return d, resp, nil
}

// errStaleKey says that a sealed request got no reply that opens.
var errStaleKey = errors.New("client: request key is out of date")

func (m *members) askOnce(ctx context.Context, t target, node identity.NodeID, req build) (_ *dialogue, _ mailbox.Response, err error) {
	stream, err := m.net.OpenStream(ctx, t.route.iso, t.route.avoid, node)
	if err != nil {
		return nil, nil, err
	}
	d := &dialogue{stream: stream, stop: context.AfterFunc(ctx, func() { stream.Close() })}
	defer func() {
		if err != nil {
			d.close()
			if ctx.Err() != nil {
				err = ctx.Err()
			}
		}
	}()
	cert, cached, err := m.cert(stream, t.at(node))
	if err != nil {
		return nil, nil, err
	}
	stamp, err := mailbox.NewStamp(m.rand, node, m.now())
	if err != nil {
		return nil, nil, err
	}
	q, err := req(stamp)
	if err != nil {
		return nil, nil, err
	}
	frame, opener, err := mailbox.SealStamped(cert, stamp, q)
	if err != nil {
		return nil, nil, err
	}
	d.opener = opener
	if err := wire.WriteFrame(stream, frame); err != nil {
		return nil, nil, err
	}
	answer, err := wire.ReadFrame(stream, mailbox.MaxFrame)
	if err != nil {
		return nil, nil, err
	}
	if busy, err := mailbox.ParseBusyReply(answer); err == nil {
		return nil, nil, busy
	}
	if t, err := mailbox.FrameType(answer); err != nil || t != mailbox.FrameReply {
		// Whatever else it says, it says so in the clear: it could not open
		// the request.
		return nil, nil, staleIf(cached, mailbox.ErrUnknownKey)
	}
	resp, err := d.open(answer)
	if errors.Is(err, mailbox.ErrOpen) {
		err = staleIf(cached, err)
	}
	return d, resp, err
}

func staleIf(cached bool, err error) error {
	if cached {
		return errStaleKey
	}
	return err
}

// call is ask for requests with one response.
func (m *members) call(ctx context.Context, t target, node identity.NodeID, req build) (mailbox.Response, error) {
	d, resp, err := m.ask(ctx, t, node, req)
	if err != nil {
		return nil, err
	}
	d.close()
	return resp, nil
}

func unexpected(resp mailbox.Response) error {
	return fmt.Errorf("client: response of type %d does not answer the request: %w", resp.Tag(), mailbox.ErrFormat)
}
