package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"sotto/internal/client"
	"sotto/internal/vault"
)

// Code names a failure for programs (docs/api.md §6).
type Code string

// The codes of refusals and failures.
const (
	CodeHost         Code = "host"           // Host is not this server's
	CodeSite         Code = "site"           // the request comes from another page
	CodeToken        Code = "token"          // no token or a wrong one
	CodeNotFound     Code = "not_found"      // no such endpoint
	CodeMethod       Code = "method"         // the endpoint has another method
	CodeMediaType    Code = "media_type"     // the body is not declared as JSON
	CodeTooLarge     Code = "too_large"      // the body is over the limit
	CodeMalformed    Code = "malformed"      // the body or a parameter is not as documented
	CodeID           Code = "id"             // not an account ID
	CodePhrase       Code = "phrase"         // not a recovery phrase
	CodeName         Code = "name"           // unsuitable name
	CodeNewPass      Code = "new_passphrase" // too short
	CodePassphrase   Code = "passphrase"     // wrong passphrase
	CodeState        Code = "state"          // not in this state of the profile
	CodeLocked       Code = "locked"         // the account is locked
	CodeUnknown      Code = "unknown"        // no such contact or message
	CodeSelf         Code = "self"           // recipient is this account
	CodeBlocked      Code = "blocked"        // recipient is blocked
	CodeText         Code = "text"           // empty or malformed text
	CodeTextTooLong  Code = "text_too_long"  // text over the limit
	CodeCover        Code = "cover"          // no such level of cover traffic
	CodeNotFailed    Code = "not_failed"     // retry of a message that did not fail
	CodeNoNetwork    Code = "no_network"     // the profile names no network
	CodeVaultInUse   Code = "vault_in_use"   // another process has the profile open
	CodeVaultDamaged Code = "vault_damaged"  // the vault cannot be read
	CodeBusy         Code = "busy"           // too much at once
	CodeInternal     Code = "internal"       // anything else
)

// Error is a failure as the API tells it.
type Error struct {
	Status  int    `json:"-"`
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error returns the words for people.
func (e *Error) Error() string { return "api: " + e.Message }

func fail(status int, code Code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

var (
	errHost      = fail(http.StatusMisdirectedRequest, CodeHost, "This address does not belong to Sotto.")
	errSite      = fail(http.StatusForbidden, CodeSite, "Requests from other pages are refused.")
	errToken     = fail(http.StatusUnauthorized, CodeToken, "This link is no longer valid. Open the link that Sotto printed when it started.")
	errNotFound  = fail(http.StatusNotFound, CodeNotFound, "There is nothing here.")
	errMethod    = fail(http.StatusMethodNotAllowed, CodeMethod, "This cannot be done here.")
	errMediaType = fail(http.StatusUnsupportedMediaType, CodeMediaType, "The request must be JSON.")
	errTooLarge  = fail(http.StatusRequestEntityTooLarge, CodeTooLarge, "The request is too large.")
	errNoAccount = fail(http.StatusConflict, CodeState, "There is no account here yet.")
	errMalformed = fail(http.StatusBadRequest, CodeMalformed, "The request is not understood.")
	errBusy      = fail(http.StatusServiceUnavailable, CodeBusy, "Too much at once. Please try again in a moment.")
	errInternal  = fail(http.StatusInternalServerError, CodeInternal, "Something went wrong. Please try again.")
)

// known says what the client's errors are to people. The first match counts.
var known = []struct {
	is  error
	say *Error
}{
	{client.ErrLocked, fail(http.StatusConflict, CodeLocked, "Sotto is locked.")},
	{client.ErrState, fail(http.StatusConflict, CodeState, "This is not possible now.")},
	{client.ErrNoNetwork, fail(http.StatusConflict, CodeNoNetwork, "This profile does not know a network yet.")},
	{client.ErrTooLong, fail(http.StatusBadRequest, CodeTextTooLong, "This message is too long to send.")},
	{client.ErrEmpty, fail(http.StatusBadRequest, CodeText, "There is nothing to send.")},
	{client.ErrSelf, fail(http.StatusBadRequest, CodeSelf, "This is your own ID.")},
	{client.ErrBlocked, fail(http.StatusConflict, CodeBlocked, "You have blocked this contact.")},
	{client.ErrUnknown, fail(http.StatusNotFound, CodeUnknown, "This contact or message is not here any more.")},
	{client.ErrNotFailed, fail(http.StatusConflict, CodeNotFailed, "This message has not failed.")},
	{client.ErrCover, fail(http.StatusBadRequest, CodeCover, "There is no such level of cover traffic.")},
	{client.ErrName, fail(http.StatusBadRequest, CodeName, "Please choose a shorter, plain name.")},
	{client.ErrPassphrase, fail(http.StatusBadRequest, CodeNewPass, "This passphrase is too short.")},
	{vault.ErrPassphrase, fail(http.StatusForbidden, CodePassphrase, "This passphrase is not right.")},
	{vault.ErrExists, fail(http.StatusConflict, CodeState, "There is an account here already.")},
	{vault.ErrMissing, fail(http.StatusConflict, CodeState, "There is no account here yet.")},
	{vault.ErrInUse, fail(http.StatusConflict, CodeVaultInUse, "Another program has this account open.")},
	{vault.ErrVersion, fail(http.StatusConflict, CodeVaultDamaged, "This account was last used with a newer version of Sotto.")},
	{vault.ErrDamaged, fail(http.StatusInternalServerError, CodeVaultDamaged, "The file of this account is damaged. It can be restored from its recovery phrase.")},
}

// explain turns any error into one that may be shown. What it does not know
// becomes errInternal, so that no inner text leaks.
func explain(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	for _, k := range known {
		if errors.Is(err, k.is) {
			return k.say
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errBusy
	}
	return errInternal
}

// writeError answers with err.
func (s *Server) writeError(w http.ResponseWriter, err error) {
	e := explain(err)
	if e == errInternal {
		s.log.Error("api: request failed", "error", err)
	}
	writeJSON(w, e.Status, map[string]*Error{"error": e})
}

// writeJSON answers with v. An error of the connection is the reader's loss.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":""}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
