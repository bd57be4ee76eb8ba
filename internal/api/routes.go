package api

import (
	"net/http"

	"sotto/internal/client"
)

// prefix stands before all endpoints. Another version gets another prefix.
const prefix = "/api/v1"

// handler answers with a value for people and programs, or an error.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// clientHandler is a handler that needs the account at work.
type clientHandler func(c Client, w http.ResponseWriter, r *http.Request) (any, error)

// routes is the table of docs/api.md §5.
func (s *Server) routes(pages http.Handler) http.Handler {
	account := map[string]handler{
		"GET /status":           s.status,
		"POST /account/create":  s.create,
		"POST /account/restore": s.restore,
		"POST /account/unlock":  s.unlock,
		"POST /account/lock":    s.lock,
		"POST /ids/check":       s.checkID,
	}
	working := map[string]clientHandler{
		"GET /me":                      me,
		"PATCH /me":                    rename,
		"GET /chats":                   chats,
		"PATCH /chats/{peer}":          renameChat,
		"GET /chats/{peer}/messages":   messages,
		"POST /chats/{peer}/messages":  send,
		"POST /chats/{peer}/read":      act(Client.MarkRead),
		"POST /chats/{peer}/block":     act(Client.Block),
		"POST /chats/{peer}/unblock":   act(Client.Unblock),
		"GET /requests":                requests,
		"POST /requests/{peer}/accept": act(Client.Accept),
		"POST /requests/{peer}/delete": act(Client.DeleteRequest),
		"POST /requests/{peer}/block":  act(Client.Block),
		"GET /messages/{id}":           message,
		"POST /messages/{id}/retry":    retry,
		"POST /take":                   take,
		"POST /sync":                   waiting(Client.Sync),
		"POST /flush":                  waiting(Client.Flush),
		"GET /connection":              connection,
		"GET /cover":                   cover,
		"PATCH /cover":                 setCover,
		"POST /chatting":               chatting,
		"GET /paths":                   paths,
		"GET /members":                 members,
		"GET /forks":                   forks,
		"POST /forks/forget":           waiting(Client.ForgetForks),
		"POST /paths/renew":            renew,
	}
	table := newTable()
	for pattern, h := range account {
		table.add(pattern, s.answer(h))
	}
	for pattern, h := range working {
		table.add(pattern, s.answer(s.atWork(h)))
	}
	table.add("GET /proof/{nonce}", public{s.answer(s.prove)})
	table.add("GET /events", http.HandlerFunc(s.events))

	mux := http.NewServeMux()
	mux.Handle("/api/", s.admit(table))
	mux.Handle("/api", s.admit(table))
	if pages != nil {
		mux.Handle("/", pages)
	}
	return mux
}

// admit refuses an unknown path and a wrong method before the token is looked
// at: neither depends on anything secret.
func (s *Server) admit(t *table) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, allow := t.find(r)
		_, open := h.(public)
		switch {
		case h == nil && allow == "":
			s.writeError(w, errNotFound)
		case h == nil:
			w.Header().Set("Allow", allow)
			s.writeError(w, errMethod)
		case !open && !s.authorized(r):
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.writeError(w, errToken)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// answer runs h and writes what it returns; nil is an empty object.
func (s *Server) answer(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := h(w, r)
		if err != nil {
			s.writeError(w, err)
			return
		}
		if v == nil {
			v = struct{}{}
		}
		writeJSON(w, http.StatusOK, v)
	})
}

// atWork gives h the account at work, or says that there is none.
func (s *Server) atWork(h clientHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		c, err := s.app.Client()
		if err != nil {
			if s.app.State() == client.StateEmpty {
				err = errNoAccount
			}
			return nil, err
		}
		return h(c, w, r)
	}
}
