package api

import (
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
	"strconv"

	"sotto/internal/client"
)

// Remote is the account at work in a daemon, as a command uses it. Its methods
// are those of *client.Client; a refusal is an *Error.
type Remote struct {
	base  string
	token string
	http  *http.Client
	me    Me
}

// Dial reaches the daemon that runs on a profile. An error wrapping
// ErrNoDaemon says that none does; an *Error that it has no account at work.
func Dial(ctx context.Context, dir string) (*Remote, error) {
	e, err := ReadEndpointFile(dir)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme != "http" || e.Token == "" {
		return nil, fmt.Errorf("%w: malformed endpoint", ErrNoDaemon)
	}
	if ap, err := netip.ParseAddrPort(u.Host); err != nil || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("%w: %w", ErrNoDaemon, ErrNotLoopback)
	}
	r := &Remote{base: "http://" + u.Host + prefix, token: e.Token, http: &http.Client{
		// A transport of our own: no proxy of the environment sees a request.
		Transport:     &http.Transport{DialContext: (&net.Dialer{}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if err := r.verify(ctx, u.Host); err != nil {
		r.Close()
		return nil, err
	}
	if err := r.call(ctx, "GET", "/me", nil, &r.me); err != nil {
		r.Close()
		return nil, noDaemon(ctx, err)
	}
	return r, nil
}

// noDaemon tells a daemon's refusal from the silence of one that has died, or
// whose port another program has now.
func noDaemon(ctx context.Context, err error) error {
	var told *Error
	if ctx.Err() != nil || errors.As(err, &told) && told.Code != CodeToken {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoDaemon, err)
}

// Close drops the idle connections. Calls under way go on.
func (r *Remote) Close() { r.http.CloseIdleConnections() }

// ID returns the account ID.
func (r *Remote) ID() string { return r.me.ID }

// Network returns the account's network as it was when dialled.
func (r *Remote) Network() client.NetworkInfo { return r.me.Network }

// Name returns the account's name when it was dialled.
func (r *Remote) Name() string { return r.me.Name }

// Message returns a message by its ID, with its present state.
func (r *Remote) Message(ctx context.Context, id string) (m client.Message, err error) {
	err = r.call(ctx, "GET", "/messages/"+url.PathEscape(id), nil, &m)
	return m, err
}

// Messages returns up to limit messages of a chat in the order to show them,
// ending just before the message with the ID before (or with the last one).
func (r *Remote) Messages(ctx context.Context, peer, before string, limit int) ([]client.Message, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before != "" {
		q.Set("before", before)
	}
	var a struct{ Messages []client.Message }
	err := r.call(ctx, "GET", "/chats/"+url.PathEscape(peer)+"/messages?"+q.Encode(), nil, &a)
	return a.Messages, err
}

// Send queues a text.
func (r *Remote) Send(ctx context.Context, peer, text string) (m client.Message, err error) {
	err = r.call(ctx, "POST", "/chats/"+url.PathEscape(peer)+"/messages", textBody{text}, &m)
	return m, err
}

// Take returns what has come since the last Take.
func (r *Remote) Take(ctx context.Context) ([]client.Message, error) {
	var a struct{ Messages []client.Message }
	err := r.call(ctx, "POST", "/take", nil, &a)
	return a.Messages, err
}

// Chats returns the contacts.
func (r *Remote) Chats(ctx context.Context) ([]client.Chat, error) {
	var a struct{ Chats []client.Chat }
	err := r.call(ctx, "GET", "/chats", nil, &a)
	return a.Chats, err
}

// Requests returns strangers who wrote.
func (r *Remote) Requests(ctx context.Context) ([]client.Chat, error) {
	var a struct{ Requests []client.Chat }
	err := r.call(ctx, "GET", "/requests", nil, &a)
	return a.Requests, err
}

// Accept makes a stranger a contact.
func (r *Remote) Accept(ctx context.Context, peer string) error {
	return r.act(ctx, "/requests/", peer, "/accept")
}

// DeleteRequest forgets a stranger and what they sent.
func (r *Remote) DeleteRequest(ctx context.Context, peer string) error {
	return r.act(ctx, "/requests/", peer, "/delete")
}

// Block drops whatever peer sends from now on.
func (r *Remote) Block(ctx context.Context, peer string) error {
	return r.act(ctx, "/chats/", peer, "/block")
}

// Unblock undoes Block.
func (r *Remote) Unblock(ctx context.Context, peer string) error {
	return r.act(ctx, "/chats/", peer, "/unblock")
}

// Sync waits until all mailboxes have been read up to what is there now.
func (r *Remote) Sync(ctx context.Context) error { return r.call(ctx, "POST", "/sync", nil, nil) }

// Flush waits until nothing is left to send.
func (r *Remote) Flush(ctx context.Context) error { return r.call(ctx, "POST", "/flush", nil, nil) }

func (r *Remote) act(ctx context.Context, before, peer, after string) error {
	return r.call(ctx, "POST", before+url.PathEscape(peer)+after, nil, nil)
}

// call asks and parses the answer into out, which may be nil.
func (r *Remote) call(ctx context.Context, method, path string, in, out any) error {
	body, err := r.do(ctx, method, path, in)
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
func (r *Remote) do(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("api: encoding the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("api: making the request: %w", err)
	}
	if r.token != "" {
		q.Header.Set("Authorization", "Bearer "+r.token)
	}
	if in != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	a, err := r.http.Do(q)
	if err != nil {
		return nil, fmt.Errorf("api: asking the daemon: %w", err)
	}
	if a.StatusCode == http.StatusOK {
		return a.Body, nil
	}
	defer a.Body.Close()
	var told struct{ Error *Error }
	b, _ := io.ReadAll(io.LimitReader(a.Body, maxRefusal))
	if json.Unmarshal(b, &told) != nil || told.Error == nil {
		return nil, fmt.Errorf("api: the daemon answered with status %d", a.StatusCode)
	}
	told.Error.Status = a.StatusCode
	return nil, told.Error
}
