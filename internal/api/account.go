package api

import (
	"net/http"

	"sotto/internal/client"
)

// Status is the answer of GET /status.
type Status struct {
	State   client.State `json:"state"`
	Version string       `json:"version"`
}

func (s *Server) status(http.ResponseWriter, *http.Request) (any, error) {
	return Status{s.app.State(), s.version}, nil
}

// create makes the account and hands out its phrase, this once.
func (s *Server) create(w http.ResponseWriter, r *http.Request) (any, error) {
	var b createBody
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	if len(b.Name) > maxName || len(b.Passphrase) > maxPassphrase {
		return nil, errMalformed
	}
	var phrase string
	err := s.change(func() (err error) {
		phrase, err = s.app.Create(r.Context(), b.Name, b.Passphrase)
		return err
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"phrase": phrase}, nil
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) (any, error) {
	var b restoreBody
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	if len(b.Phrase) > maxPhrase || len(b.Name) > maxName || len(b.Passphrase) > maxPassphrase {
		return nil, errMalformed
	}
	if err := checkPhrase(b.Phrase); err != nil {
		return nil, err
	}
	return nil, s.change(func() error {
		return s.app.Restore(r.Context(), b.Phrase, b.Name, b.Passphrase)
	})
}

func (s *Server) unlock(w http.ResponseWriter, r *http.Request) (any, error) {
	var b unlockBody
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	if len(b.Passphrase) > maxPassphrase {
		return nil, errMalformed
	}
	return nil, s.change(func() error { return s.app.Unlock(r.Context(), b.Passphrase) })
}

func (s *Server) lock(http.ResponseWriter, *http.Request) (any, error) {
	return nil, s.change(func() error { s.app.Lock(); return nil })
}

// change runs one account call at a time, and refuses a second one instead of
// letting guesses queue up; then it tells the event streams.
func (s *Server) change(f func() error) error {
	if !s.account.TryLock() {
		return errBusy
	}
	defer s.account.Unlock()
	err := f()
	s.states.changed()
	return err
}
