package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"
)

// readBody parses a request's body into the struct that v points to.
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return errMediaType
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return errTooLarge
	}
	if err != nil {
		return errMalformed
	}
	return decode(b, v)
}

// decode accepts exactly one JSON object in UTF-8 with known fields only.
func decode(b []byte, v any) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] != '{' || !utf8.Valid(b) {
		return errMalformed
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errMalformed
	}
	if _, err := d.Token(); err != io.EOF {
		return errMalformed
	}
	return nil
}

// The bodies of requests (docs/api.md §5).
type (
	createBody struct {
		Name       string `json:"name"`
		Passphrase string `json:"passphrase"`
	}
	restoreBody struct {
		Phrase     string `json:"phrase"`
		Name       string `json:"name"`
		Passphrase string `json:"passphrase"`
	}
	unlockBody struct {
		Passphrase string `json:"passphrase"`
	}
	nameBody struct {
		Name string `json:"name"`
	}
	textBody struct {
		Text string `json:"text"`
	}
	levelBody struct {
		Level string `json:"level"`
	}
	idBody struct {
		ID string `json:"id"`
	}
)
