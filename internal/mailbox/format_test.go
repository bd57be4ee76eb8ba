package mailbox

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestSecretsDoNotFormat(t *testing.T) {
	w := newWorld(t)
	frame, opener, err := SealRequest(newStream("seal"), w.key.Cert(), w.now, &Quote{})
	if err != nil {
		t.Fatal(err)
	}
	_, sealer, err := w.key.OpenRequest(frame)
	if err != nil {
		t.Fatal(err)
	}
	secrets := [][]byte{w.conv.secret[:], opener.reply.key.Bytes(), opener.next.key.Bytes(), w.box().Key.Bytes()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q"} {
		for _, v := range []any{w.conv, *w.conv, opener, *opener, sealer, *sealer, w.key, *w.key, w.box()} {
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
