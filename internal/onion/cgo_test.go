package onion

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
)

// cgoState is a layer in the public vectors.
type cgoState struct{ K, N, T hexBytes }

func (s cgoState) layer() *layer {
	l := newLayer((*[layerSize]byte)(append(append([]byte{}, s.K...), s.N...)))
	copy(l.t[:], s.T)
	return l
}

type cgoVectors struct {
	PRF []struct {
		Key    hexBytes `json:"key_KB"`
		Offset int
		Tweak  hexBytes
		Output hexBytes
	}
	ET []struct {
		Encrypt              bool
		Keys                 hexBytes `json:"keys_KB_KU"`
		Tweak, Input, Output hexBytes
	}
	UIV []struct {
		Encrypt     bool
		Keys        hexBytes `json:"keys_J_S"`
		Tweak       hexBytes `json:"tweak_H"`
		Left, Right hexBytes
		OutLeft     hexBytes `json:"out_left"`
		OutRight    hexBytes `json:"out_right"`
	}
	Update []struct {
		Keys, Nonce hexBytes
		OutKeys     hexBytes `json:"out_keys"`
		OutNonce    hexBytes `json:"out_nonce"`
	} `json:"uiv_update"`
	Relay []struct {
		Inbound  bool
		State    cgoState
		AD, T, C hexBytes
		OutState cgoState `json:"out_state"`
		OutT     hexBytes `json:"out_t"`
		OutC     hexBytes `json:"out_c"`
	}
	RelayOriginate []struct {
		State       cgoState
		AD, Message hexBytes
		OutState    cgoState `json:"out_state"`
		OutT        hexBytes `json:"out_t"`
		OutC        hexBytes `json:"out_c"`
	} `json:"relay_originate"`
	ClientOriginate []struct {
		Layers      []cgoState
		Hop         int
		AD, Message hexBytes
		OutLayers   []cgoState `json:"out_layers"`
		OutT        hexBytes   `json:"out_t"`
		OutC        hexBytes   `json:"out_c"`
	} `json:"client_originate"`
}

func uivFrom(key []byte) *uiv {
	u := new(uiv)
	u.init(key)
	return u
}

func equalBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s:\n got %.40x\nwant %.40x", what, got, want)
	}
}

// equalLayer compares what a layer does with what the expected state does,
// since ciphers do not give their keys back.
func equalLayer(t *testing.T, got *layer, want cgoState) {
	t.Helper()
	equalBytes(t, "N", got.n[:], want.N)
	equalBytes(t, "T", got.t[:], want.T)
	equalKey(t, &got.key, want.K)
}

func equalKey(t *testing.T, got *uiv, want []byte) {
	t.Helper()
	a, b := make([]byte, 509), make([]byte, 509)
	got.encrypt(new([TagSize]byte), 1, a)
	uivFrom(want).encrypt(new([TagSize]byte), 1, b)
	equalBytes(t, "a body under K", a, b)
}

func TestPublicCGOVectors(t *testing.T) {
	var v cgoVectors
	publicVectors(t, "cgo.json", &v)
	for i, tc := range v.PRF {
		t.Run(fmt.Sprint("prf/", i), func(t *testing.T) {
			u := uivFrom(append(make([]byte, 32), tc.Key...))
			out := make([]byte, len(tc.Output))
			if tc.Offset == 0 {
				u.stream(tc.Tweak, out)
			} else {
				u.keyStream((*[16]byte)(tc.Tweak), 493, out)
			}
			equalBytes(t, "output", out, tc.Output)
		})
	}
	for i, tc := range v.ET {
		t.Run(fmt.Sprint("et/", i), func(t *testing.T) {
			u := uivFrom(append(append([]byte{}, tc.Keys...), make([]byte, 32)...))
			u.maskedBlock(tc.Encrypt, (*[16]byte)(tc.Tweak), tc.Tweak[16], tc.Input, tc.Tweak[17:])
			equalBytes(t, "output", tc.Input, tc.Output)
		})
	}
	for i, tc := range v.UIV {
		t.Run(fmt.Sprint("uiv/", i), func(t *testing.T) {
			u, body := uivFrom(tc.Keys), append(tc.Left, tc.Right...)
			crypt := u.decrypt
			if tc.Encrypt {
				crypt = u.encrypt
			}
			crypt((*[16]byte)(tc.Tweak), tc.Tweak[16], body)
			equalBytes(t, "output", body, append(tc.OutLeft, tc.OutRight...))
		})
	}
	for i, tc := range v.Update {
		t.Run(fmt.Sprint("update/", i), func(t *testing.T) {
			u := uivFrom(tc.Keys)
			u.update((*[16]byte)(tc.Nonce), 493)
			equalBytes(t, "nonce", tc.Nonce, tc.OutNonce)
			equalKey(t, u, tc.OutKeys)
		})
	}
}

func TestPublicCircuitVectors(t *testing.T) {
	var v cgoVectors
	publicVectors(t, "cgo.json", &v)
	for i, tc := range v.Relay {
		t.Run(fmt.Sprint("relay/", i), func(t *testing.T) {
			l, body := tc.State.layer(), append(tc.T, tc.C...)
			if tc.Inbound {
				l.relayEncrypt(tc.AD[0], body)
			} else {
				l.relayOpen(tc.AD[0], body)
			}
			equalBytes(t, "cell", body, append(tc.OutT, tc.OutC...))
			equalLayer(t, l, tc.OutState)
		})
	}
	for i, tc := range v.RelayOriginate {
		t.Run(fmt.Sprint("relay_originate/", i), func(t *testing.T) {
			l, body := tc.State.layer(), append(make([]byte, TagSize), tc.Message...)
			tag := l.relayOriginate(tc.AD[0], body)
			equalBytes(t, "cell", body, append(tc.OutT, tc.OutC...))
			equalBytes(t, "tag", tag[:], tc.OutT)
			equalLayer(t, l, tc.OutState)
		})
	}
	for i, tc := range v.ClientOriginate {
		t.Run(fmt.Sprint("client_originate/", i), func(t *testing.T) {
			var c ClientCircuit
			for _, s := range tc.Layers {
				c.forward = append(c.forward, s.layer())
			}
			body := append(make([]byte, TagSize), tc.Message...)
			c.sealBody(tc.Hop-1, tc.AD[0], body)
			equalBytes(t, "cell", body, append(tc.OutT, tc.OutC...))
			for i, l := range c.forward {
				equalLayer(t, l, tc.OutLayers[i])
			}
		})
	}
}

// TestPolyvalExample is the worked example of RFC 8452, appendix A.
func TestPolyvalExample(t *testing.T) {
	unhex := func(s string) []byte { b, _ := hex.DecodeString(s); return b }
	var k polyvalKey
	k.init(unhex("25629347589242761d31f826ba4b757b"))
	in := unhex("4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362")
	got := k.sum(fieldElement{}, in).bytes()
	equalBytes(t, "POLYVAL(H, X_1, X_2)", got[:], unhex("f7a3b47b846119fae5b7866cf5e5b77e"))
}
