package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/wire"
)

// members speaks to single members of swarms in sealed requests
// (spec/mailbox.md §5.1), and remembers their request keys and quotes.
type members struct {
	net  Network
	now  func() time.Time
	rand io.Reader

	mu     sync.Mutex // guards what follows
	certs  map[identity.NodeID]*mailbox.RequestKeyCert
	quotes map[identity.NodeID]mailbox.WorkQuote
}

// route is how to get to a member: over which circuits, and not over whose exits.
type route struct {
	iso   circuit.Isolation
	avoid []circuit.Isolation
}

// dialogue is a stream on which one sealed context runs.
type dialogue struct {
	stream io.ReadWriteCloser
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
// stream still open. A request key that the member has replaced is fetched
// anew, once.
func (m *members) ask(ctx context.Context, r route, node identity.NodeID, req build) (*dialogue, mailbox.Response, error) {
	d, resp, err := m.askOnce(ctx, r, node, req)
	if errors.Is(err, errStaleKey) && ctx.Err() == nil {
		m.forget(node)
		d, resp, err = m.askOnce(ctx, r, node, req)
	}
	if err != nil {
		return nil, nil, err
	}
	return d, resp, nil
}

// errStaleKey says that a sealed request got no reply that opens.
var errStaleKey = errors.New("client: request key is out of date")

func (m *members) askOnce(ctx context.Context, r route, node identity.NodeID, req build) (_ *dialogue, _ mailbox.Response, err error) {
	stream, err := m.net.OpenStream(ctx, r.iso, r.avoid, node)
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
	cert, cached, err := m.cert(stream, node)
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
func (m *members) call(ctx context.Context, r route, node identity.NodeID, req build) (mailbox.Response, error) {
	d, resp, err := m.ask(ctx, r, node, req)
	if err != nil {
		return nil, err
	}
	d.close()
	return resp, nil
}

// cert returns the member's request key, from memory or asked for on stream.
func (m *members) cert(stream io.ReadWriter, node identity.NodeID) (_ *mailbox.RequestKeyCert, cached bool, _ error) {
	m.mu.Lock()
	cert := m.certs[node]
	m.mu.Unlock()
	if cert != nil && cert.Verify(node, m.now()) == nil {
		return cert, true, nil
	}
	if err := wire.WriteFrame(stream, mailbox.KeysRequest()); err != nil {
		return nil, false, err
	}
	frame, err := wire.ReadFrame(stream, mailbox.MaxFrame)
	if err != nil {
		return nil, false, err
	}
	cert, err = mailbox.ParseKeysReply(frame)
	if err != nil {
		return nil, false, err
	}
	if err := cert.Verify(node, m.now()); err != nil {
		return nil, false, err
	}
	m.mu.Lock()
	m.certs[node] = cert
	m.mu.Unlock()
	return cert, false, nil
}

func (m *members) forget(node identity.NodeID) {
	m.mu.Lock()
	delete(m.certs, node)
	m.mu.Unlock()
}

// warm fetches a member's request key ahead of need.
func (m *members) warm(ctx context.Context, r route, node identity.NodeID) error {
	m.mu.Lock()
	cert := m.certs[node]
	m.mu.Unlock()
	if cert != nil && cert.Verify(node, m.now().Add(certAhead)) == nil {
		return nil
	}
	stream, err := m.net.OpenStream(ctx, r.iso, r.avoid, node)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	defer func() {
		stop()
		stream.Close()
	}()
	m.forget(node)
	_, _, err = m.cert(stream, node)
	return err
}

const (
	// certAhead is how long before its end a request key is renewed.
	certAhead = 5 * time.Minute
	// quoteMargin is how much of a quote's life must be left to work on it.
	quoteMargin = 5 * time.Minute
)

// quote returns a price that still counts for a while.
func (m *members) quote(ctx context.Context, r route, node identity.NodeID) (mailbox.WorkQuote, error) {
	m.mu.Lock()
	q, ok := m.quotes[node]
	m.mu.Unlock()
	if ok && q.Verify(m.now().Add(quoteMargin)) == nil {
		return q, nil
	}
	resp, err := m.call(ctx, r, node, fixed(&mailbox.Quote{}))
	if err != nil {
		return q, err
	}
	reply, ok := resp.(*mailbox.QuoteReply)
	if !ok {
		return q, unexpected(resp)
	}
	if reply.Quote.Node != node {
		return q, fmt.Errorf("client: quote of another node: %w", mailbox.ErrBadWork)
	}
	if err := reply.Quote.Verify(m.now()); err != nil {
		return q, err
	}
	m.mu.Lock()
	m.quotes[node] = reply.Quote
	m.mu.Unlock()
	return reply.Quote, nil
}

// work solves for a purpose at a member's price, until ctx ends.
func (m *members) work(ctx context.Context, r route, node identity.NodeID, p mailbox.Purpose) (mailbox.Work, error) {
	q, err := m.quote(ctx, r, node)
	if err != nil {
		return mailbox.Work{}, err
	}
	return mailbox.SolveWork(func() bool { return ctx.Err() != nil }, p, q)
}

func unexpected(resp mailbox.Response) error {
	return fmt.Errorf("client: response of type %d does not answer the request: %w", resp.Tag(), mailbox.ErrFormat)
}
