package mailbox

import (
	"bytes"
	"testing"

	"sotto/internal/suite"
)

func FuzzRequest(f *testing.F) {
	w := makeWorld()
	for _, req := range w.requests() {
		f.Add(EncodeRequest(req))
	}
	terms := w.terms()
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := ParseRequest(in)
		if err != nil {
			return
		}
		if !bytes.Equal(EncodeRequest(req), in) {
			t.Fatal("a request that was read is not written alike")
		}
		_ = Authorize(req, terms)
	})
}

func FuzzResponse(f *testing.F) {
	for _, resp := range makeWorld().responses() {
		f.Add(must(EncodeResponse(resp)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		resp, err := ParseResponse(in)
		if err != nil {
			return
		}
		out, err := EncodeResponse(resp)
		if err != nil || !bytes.Equal(out, in) {
			t.Fatalf("a response that was read is not written alike: %v", err)
		}
	})
}

func FuzzSealedRequest(f *testing.F) {
	w := makeWorld()
	for _, req := range []Request{&Quote{}, w.fetch(), w.put()} {
		frame, _, err := SealStamped(w.key.Cert(), w.stamp(), req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Add(KeysReply(w.key.Cert()))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, _ = w.key.OpenRequest(in)
		_, _ = (&ReplyOpener{}).Open(in)
		if c, err := ParseKeysReply(in); err == nil && !bytes.Equal(KeysReply(c), in) {
			t.Fatal("a request key that was read is not written alike")
		}
	})
}

// FuzzEnvelope also takes its input for what lies inside the seal, where only
// a conversation's other party can write.
func FuzzEnvelope(f *testing.F) {
	key, addr := must(suite.NewKey(newStream("k"))), Address{1}
	sealed := must(SealEnvelope(newStream("n"), key, addr, &Envelope{Slots: [][]byte{{1}, {2, 3}}, Body: []byte("body")}))
	f.Add(sealed)
	f.Add(must(SealFirst(newStream("n"), key, addr, []byte("first"))))
	f.Add(must(suite.Open(nil, key, sealed[1:25], sealed[25:], outerAD(labelEnvelope, addr))))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = OpenEnvelope(key, addr, in)
		_, _ = OpenFirst(key, addr, in)
		class, err := ClassFor(envelopeOverhead + len(in))
		if err != nil {
			return
		}
		forged := must(sealOuter(newStream("n"), key, labelEnvelope, addr, in, class))
		e, err := OpenEnvelope(key, addr, forged)
		if err != nil {
			return
		}
		again := must(SealEnvelope(newStream("n"), key, addr, e))
		if len(again) == len(forged) && !bytes.Equal(again, forged) {
			t.Fatal("an envelope that was read is not written alike")
		}
	})
}

func FuzzReceipt(f *testing.F) {
	for _, r := range makeWorld().receipts(5) {
		f.Add(r.Encode())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseReceipt(in)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Encode(), in) {
			t.Fatal("a receipt that was read is not written alike")
		}
		_ = r.Verify()
	})
}

func FuzzInvitation(f *testing.F) {
	w := makeWorld()
	f.Add(w.conv.Invitation())
	if err := w.conv.Refresh(w.conv.Period(w.now, true)+2, [suite.KeySize]byte{4}, w.now); err != nil {
		f.Fatal(err)
	}
	f.Add(w.conv.Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ConversationFromInvitation(in)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Encode(), in) {
			t.Fatal("a conversation that was read is not written alike")
		}
		if err := c.Advance(w.now); err != nil {
			return
		}
		_, _ = c.Box(c.Period(w.now, true), true, w.bob.Base().Public())
	})
}
