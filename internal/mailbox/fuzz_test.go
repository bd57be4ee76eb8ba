package mailbox

import (
	"bytes"
	"errors"
	"testing"

	"sotto/internal/suite"
	"sotto/internal/wire"
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
	stamp := w.stamp()
	f.Add(KeysReply(w.key.Cert()))
	f.Add(pad(append(wire.AppendUint64(nil, stamp.Time), stamp.Nonce[:]...), EncodeRequest(w.put())))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, _ = w.key.OpenRequest(in)
		_, _ = readReceived(stamp.Node, in) // what a sender who knows the key can put inside
		_, _ = (&ReplyOpener{}).Open(in)
		if c, err := ParseKeysReply(in); err == nil && !bytes.Equal(KeysReply(c), in) {
			t.Fatal("a request key that was read is not written alike")
		}
	})
}

// FuzzBusyReply reads frames that anybody on the way can make.
func FuzzBusyReply(f *testing.F) {
	f.Add(BusyReply(0))
	f.Add(BusyReply(1<<32 - 1))
	f.Add(KeysRequest())
	f.Add([]byte{FrameBusy, version + 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		busy, err := ParseBusyReply(in)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
				t.Fatalf("of another class: %v", err)
			}
			return
		}
		if !errors.Is(busy, ErrBusy) || !bytes.Equal(BusyReply(busy.RetryAfter), in) {
			t.Fatal("a busy frame that was read is not written alike")
		}
	})
}

// FuzzRequestKey reads certificates where they stand alone.
func FuzzRequestKey(f *testing.F) {
	f.Add(makeWorld().key.Cert().Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParseRequestKeyCert(in)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Encode(), in) {
			t.Fatal("a request key that was read is not written alike")
		}
		_ = c.Verify(c.Node, testNow)
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
