package mailbox

import (
	"encoding/hex"
	"errors"
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

func TestBusyReply(t *testing.T) {
	f, err := ParseBusyReply(BusyReply(7))
	if err != nil || f.Code != CodeBusy || f.RetryAfter != 7 || !errors.Is(f, ErrBusy) {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, frame := range [][]byte{nil, {FrameBusy}, {FrameBusy, version}, append(BusyReply(7), 0), KeysRequest()} {
		if f, err := ParseBusyReply(frame); err == nil {
			t.Errorf("%x is taken for %+v", frame, f)
		}
	}
}
