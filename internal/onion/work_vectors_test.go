package onion

import (
	"bytes"
	"testing"
	"time"

	"sotto/internal/identity"
)

// paddingVector is a CREATE whose message, before it is sealed, is as given,
// and the class of error that refuses it.
type paddingVector struct {
	Name   string   `json:"name"`
	Sealed hexBytes `json:"message_with_padding"`
	Create hexBytes `json:"create"`
	Error  string   `json:"error"`
}

func (v *paddingVector) run(t *testing.T, h *handshakeVector) {
	t.Helper()
	head := createHeader{class: h.Class}.append(nil)
	x, kem := clientKeys(t, h.ClientRandom)
	_, skin, err := circuitNtor(head, nil).start(x, kem, identity.NodeID(h.Relay), dhKey(t, h.OnionSecret).Public(), v.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	v.Create = append(head, skin...)
	_, _, err = h.answer(t, v.Create)
	v.Error = errorClass(t, err)
}

// workVector is the handshake's CREATE with work of a time, the proof in it, and
// what a relay says to it and to changes of it.
type workVector struct {
	Effort uint8      `json:"effort"`
	Time   int64      `json:"time"`
	Create hexBytes   `json:"create"`
	Proof  hexBytes   `json:"proof"`
	Cases  []workCase `json:"cases"`
}

// workCase is the CREATE with Xor at Offset, which comes at Now, and again if
// it came at UsedAt before.
type workCase struct {
	Name       string `json:"name"`
	Now        int64  `json:"now"`
	Offset     int    `json:"offset,omitempty"`
	Xor        uint8  `json:"xor,omitempty"`
	UsedAt     int64  `json:"used_at,omitempty"`
	OtherRelay bool   `json:"other_relay,omitempty"`
	Error      string `json:"error,omitempty"`
}

func (v *workVector) run(t *testing.T, h *handshakeVector) {
	t.Helper()
	relay, secret := identity.NodeID(h.Relay), dhKey(t, h.OnionSecret)
	_, create, err := PaidHandshake(bytes.NewReader(h.ClientRandom), relay, secret.Public(), h.Class, h.ClientMessage,
		Payment{Effort: v.Effort, At: time.Unix(v.Time, 0)})
	if err != nil {
		t.Fatal(err)
	}
	_, proof, err := CheckWork(relay, create, time.Unix(v.Time, 0))
	if err != nil {
		t.Fatal(err)
	}
	v.Create, v.Proof = create, proof[:]
	if _, _, err := h.answer(t, create); err != nil {
		t.Fatalf("a CREATE with work: %v", err)
	}
	for i := range v.Cases {
		v.Cases[i].run(t, relay, create)
	}
}

func (c *workCase) run(t *testing.T, relay identity.NodeID, create []byte) {
	t.Helper()
	if c.OtherRelay {
		relay[0] ^= 1
	}
	create = changeVector{Offset: c.Offset, Xor: c.Xor}.apply(create)
	var proofs Proofs
	use := func(at int64) error {
		_, proof, err := CheckWork(relay, create, time.Unix(at, 0))
		if err != nil {
			return err
		}
		return proofs.Use(proof, time.Unix(at, 0))
	}
	if c.UsedAt != 0 {
		if err := use(c.UsedAt); err != nil {
			t.Fatalf("%s, the first time: %v", c.Name, err)
		}
	}
	c.Error = errorClass(t, use(c.Now))
}
