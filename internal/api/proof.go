package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
)

// proofLabel keeps proofs apart from whatever else a token may come to key.
const proofLabel = "sotto/api/proof\x00"

// public is an endpoint that answers without the token.
type public struct{ http.Handler }

// proof shows that who listens on host knows token. It is asked for before
// anything else is sent: a daemon that died leaves its endpoint file, and any
// program of this machine may have its port (docs/api.md §4).
func proof(token, host, nonce string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte(proofLabel + host + "\x00" + nonce))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// prove answers a command's nonce.
func (s *Server) prove(_ http.ResponseWriter, r *http.Request) (any, error) {
	nonce := r.PathValue("nonce")
	if b, err := base64.RawURLEncoding.DecodeString(nonce); err != nil || len(b) != tokenSize {
		return nil, errMalformed
	}
	return map[string]string{"proof": proof(s.token.Reveal(), s.host, nonce)}, nil
}

// verify asks the listener for its proof, and tells it nothing.
func (r *Remote) verify(ctx context.Context, host string) error {
	var b [tokenSize]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Errorf("api: reading a nonce: %w", err)
	}
	nonce := base64.RawURLEncoding.EncodeToString(b[:])
	stranger := &Remote{base: r.base, http: r.http}
	var a struct{ Proof string }
	if err := stranger.call(ctx, "GET", "/proof/"+url.PathEscape(nonce), nil, &a); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	if !hmac.Equal([]byte(a.Proof), []byte(proof(r.token, host, nonce))) {
		return fmt.Errorf("%w: another program has its address", ErrNoDaemon)
	}
	return nil
}
