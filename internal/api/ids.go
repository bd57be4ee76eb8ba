package api

import (
	"errors"
	"net/http"
	"strings"

	"sotto/internal/identity"
)

// peerOf returns the account ID in a request's path, in small letters.
func peerOf(r *http.Request) (string, error) { return parseID(r.PathValue("peer")) }

func parseID(text string) (string, error) {
	id, err := identity.ParseAccountID(text)
	if err != nil {
		return "", explainID(err)
	}
	return id.String(), nil
}

// Checked is the answer of POST /ids/check. A mistyped ID is an ordinary
// answer, not a failure.
type Checked struct {
	Valid   bool   `json:"valid"`
	ID      string `json:"id,omitempty"`
	Self    bool   `json:"self,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// checkID tells whether a text is an account ID, for an input field. It works
// without an account and asks nobody.
func (s *Server) checkID(w http.ResponseWriter, r *http.Request) (any, error) {
	var b idBody
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	id, err := parseID(b.ID)
	if err != nil {
		return Checked{Problem: explain(err).Message}, nil
	}
	c, err := s.app.Client()
	return Checked{Valid: true, ID: id, Self: err == nil && c.ID() == id}, nil
}

// checkPhrase refuses a wrong phrase before the vault is touched, and names
// the word that is wrong.
func checkPhrase(phrase string) error {
	_, err := identity.SeedFromPhrase(phrase)
	if err == nil {
		return nil
	}
	return fail(http.StatusBadRequest, CodePhrase, "This recovery phrase is not right: "+reason(err)+".")
}

func explainID(err error) *Error {
	if errors.Is(err, identity.ErrVersion) {
		return fail(http.StatusBadRequest, CodeID, "This ID needs a newer version of Sotto.")
	}
	return fail(http.StatusBadRequest, CodeID, "This is not a valid account ID: "+reason(err)+".")
}

// reason is what identity's errors say behind the name of the error; they are
// written for people.
func reason(err error) string {
	text := err.Error()
	if i := strings.Index(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	if i := strings.Index(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return strings.TrimSuffix(text, "?")
}
