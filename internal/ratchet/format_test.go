package ratchet

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// A session in a log line would hand over every message that is to come.
func TestSecretsDoNotFormat(t *testing.T) {
	_, c := newContact(t)
	opening := must[*Opening](t)(ReadFirst(c.bob, c.first, []byte("ad")))
	session := c.accept(t)
	secrets := [][]byte{session.root.Bytes(), session.nextSend.Bytes(), opening.dh3, opening.kem}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q"} {
		for _, v := range []any{session, *session, opening, *opening, c.bob, &c.bob} {
			out := fmt.Sprintf(verb, v)
			for _, secret := range secrets {
				for _, shown := range []string{
					hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
					strings.Trim(fmt.Sprint(secret), "[]"), strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
				} {
					if strings.Contains(out, shown) {
						t.Errorf("%s shows a secret of %T", verb, v)
					}
				}
			}
		}
	}
}
