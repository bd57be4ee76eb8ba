package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"sotto/internal/client"
)

// Caller is a command's way to the account at work in a daemon.
type Caller struct {
	base  string
	token string
	http  *http.Client
}

// Dial reaches the daemon of an endpoint and checks that it answers; an error
// wrapping ErrNoDaemon says that it does not.
func Dial(ctx context.Context, e Endpoint) (*Caller, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme != "http" {
		return nil, fmt.Errorf("%w: malformed address", ErrNoDaemon)
	}
	if ap, err := netip.ParseAddrPort(u.Host); err != nil || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("%w: %w", ErrNoDaemon, ErrNotLoopback)
	}
	// No proxy of the environment gets to see a request.
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	c := &Caller{base: "http://" + u.Host + prefix, token: e.Token, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if _, err := c.Status(ctx); err != nil {
		c.Close()
		var told *Error
		if ctx.Err() == nil && (!errors.As(err, &told) || told.Code == CodeToken) {
			err = fmt.Errorf("%w: %w", ErrNoDaemon, err)
		}
		return nil, err
	}
	return c, nil
}

// Close drops the idle connections.
func (c *Caller) Close() { c.http.CloseIdleConnections() }

// Status returns the state of the daemon's profile.
func (c *Caller) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, "GET", "/status", nil, &s)
}

// Me returns the account's ID and name.
func (c *Caller) Me(ctx context.Context) (m Me, err error) {
	return m, c.call(ctx, "GET", "/me", nil, &m)
}

// Send queues a text.
func (c *Caller) Send(ctx context.Context, peer, text string) (m client.Message, err error) {
	return m, c.call(ctx, "POST", "/chats/"+url.PathEscape(peer)+"/messages", textBody{text}, &m)
}

// Message returns a message by its ID, with its present state.
func (c *Caller) Message(ctx context.Context, id string) (m client.Message, err error) {
	return m, c.call(ctx, "GET", "/messages/"+url.PathEscape(id), nil, &m)
}

// Take returns what has come since the last Take.
func (c *Caller) Take(ctx context.Context) ([]client.Message, error) {
	var a struct{ Messages []client.Message }
	return a.Messages, c.call(ctx, "POST", "/take", nil, &a)
}

// Requests returns strangers who wrote.
func (c *Caller) Requests(ctx context.Context) ([]client.Chat, error) {
	var a struct{ Requests []client.Chat }
	return a.Requests, c.call(ctx, "GET", "/requests", nil, &a)
}

// Accept makes a stranger a contact.
func (c *Caller) Accept(ctx context.Context, peer string) error {
	return c.request(ctx, peer, "accept")
}

// DeleteRequest forgets a stranger and what they sent.
func (c *Caller) DeleteRequest(ctx context.Context, peer string) error {
	return c.request(ctx, peer, "delete")
}

// Block drops whatever peer sends from now on.
func (c *Caller) Block(ctx context.Context, peer string) error {
	return c.request(ctx, peer, "block")
}

func (c *Caller) request(ctx context.Context, peer, verb string) error {
	return c.call(ctx, "POST", "/requests/"+url.PathEscape(peer)+"/"+verb, nil, nil)
}

// Events calls f for each event from now on, the first being EventStatus,
// until f returns false (then nil), ctx ends or the daemon stops.
func (c *Caller) Events(ctx context.Context, f func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := c.do(ctx, "GET", "/events", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("api: malformed event: %w", err)
		}
		if !f(e) {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: it has stopped", ErrNoDaemon)
}

// call asks and parses the answer into out, which may be nil.
func (c *Caller) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return fmt.Errorf("api: reading the answer: %w", err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("api: malformed answer: %w", err)
	}
	return nil
}

// do returns the body of a good answer; a refusal is an *Error.
func (c *Caller) do(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("api: encoding the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("api: making the request: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("api: asking the daemon: %w", err)
	}
	if a.StatusCode == http.StatusOK {
		return a.Body, nil
	}
	defer a.Body.Close()
	var told struct{ Error *Error }
	b, _ := io.ReadAll(io.LimitReader(a.Body, maxEndpoint))
	if json.Unmarshal(b, &told) != nil || told.Error == nil {
		return nil, fmt.Errorf("api: the daemon answered with status %d", a.StatusCode)
	}
	told.Error.Status = a.StatusCode
	return nil, told.Error
}
