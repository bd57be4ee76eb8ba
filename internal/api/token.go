package api

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
)

// tokenSize is the size of a token in bytes: beyond guessing.
const tokenSize = 32

// Token admits its holder to the API of one run of the daemon. It formats as
// a placeholder so that it cannot reach a log.
type Token struct {
	_ [0]func()
	t [tokenSize]byte
}

// NewToken returns a fresh token from the system's randomness.
func NewToken() (Token, error) {
	var t Token
	if _, err := rand.Read(t.t[:]); err != nil {
		return Token{}, fmt.Errorf("api: reading a token: %w", err)
	}
	return t, nil
}

// Reveal returns the token as it stands in a link or header.
func (t Token) Reveal() string { return base64.RawURLEncoding.EncodeToString(t.t[:]) }

// Matches tells in constant time whether s is the token. The zero token
// matches nothing.
func (t Token) Matches(s string) bool {
	var zero Token
	want := t.Reveal()
	ok := subtle.ConstantTimeCompare([]byte(want), []byte(s))
	set := 1 - subtle.ConstantTimeCompare(t.t[:], zero.t[:])
	return ok&set == 1
}

// String hides the token from formatted output.
func (Token) String() string { return "[token]" }

// GoString hides the token from %#v.
func (Token) GoString() string { return "[token]" }
