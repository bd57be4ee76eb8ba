package api

import (
	"context"
	"net/http"
	"strconv"

	"sotto/internal/client"
)

// Me is the answer of GET /me.
type Me struct {
	ID      string             `json:"id"`
	Name    string             `json:"name"`
	Network client.NetworkInfo `json:"network"`
}

func me(c Client, _ http.ResponseWriter, _ *http.Request) (any, error) {
	return Me{c.ID(), c.Name(), c.Network()}, nil
}

func rename(c Client, w http.ResponseWriter, r *http.Request) (any, error) {
	var b nameBody
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	if len(b.Name) > maxName {
		return nil, client.ErrName
	}
	if err := c.SetName(r.Context(), b.Name); err != nil {
		return nil, err
	}
	return Me{c.ID(), c.Name(), c.Network()}, nil
}

func chats(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := c.Chats(r.Context())
	if list == nil {
		list = []client.Chat{}
	}
	return map[string][]client.Chat{"chats": list}, err
}

func requests(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := c.Requests(r.Context())
	if list == nil {
		list = []client.Chat{}
	}
	return map[string][]client.Chat{"requests": list}, err
}

func renameChat(c Client, w http.ResponseWriter, r *http.Request) (any, error) {
	var b nameBody
	peer, err := peerOf(r)
	if err != nil {
		return nil, err
	}
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	if len(b.Name) > maxName {
		return nil, client.ErrName
	}
	return nil, c.Rename(r.Context(), peer, b.Name)
}

// act makes an endpoint of a call that takes a contact and nothing else.
func act(call func(Client, context.Context, string) error) clientHandler {
	return func(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
		peer, err := peerOf(r)
		if err != nil {
			return nil, err
		}
		return nil, call(c, r.Context(), peer)
	}
}

func messages(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	peer, err := peerOf(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	limit := defaultPage
	if q := query.Get("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > maxPage {
			return nil, errMalformed
		}
		limit = n
	}
	before := query.Get("before")
	if len(before) > maxPeer {
		return nil, errMalformed
	}
	// One more than asked for tells whether there are more.
	list, err := c.Messages(r.Context(), peer, before, limit+1)
	if err != nil {
		return nil, err
	}
	more := len(list) > limit
	if more {
		list = list[len(list)-limit:]
	}
	if list == nil {
		list = []client.Message{}
	}
	return struct {
		Messages []client.Message `json:"messages"`
		More     bool             `json:"more"`
	}{list, more}, nil
}

func send(c Client, w http.ResponseWriter, r *http.Request) (any, error) {
	var b textBody
	peer, err := peerOf(r)
	if err != nil {
		return nil, err
	}
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	return c.Send(r.Context(), peer, b.Text)
}

func message(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	return c.Message(r.Context(), r.PathValue("id"))
}

func retry(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, c.Retry(r.Context(), r.PathValue("id"))
}

// waiting makes an endpoint of a call that lasts as long as it takes, or as
// the asker waits.
func waiting(call func(Client, context.Context) error) clientHandler {
	return func(c Client, w http.ResponseWriter, r *http.Request) (any, error) {
		if err := noDeadlines(w); err != nil {
			return nil, err
		}
		return nil, call(c, r.Context())
	}
}

func take(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := c.Take(r.Context())
	if list == nil {
		list = []client.Message{}
	}
	return map[string][]client.Message{"messages": list}, err
}
