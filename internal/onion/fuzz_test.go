package onion

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sotto/internal/identity"
)

func FuzzCell(f *testing.F) {
	cells, err := SplitCreate(handshakeBytes(), 7, CmdCreate)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cells[0][:], cells[1][:])
	chain := newChain(f, 1)
	relay, _ := chain.seal(f, 0, testPayload(1))
	var destroy Cell
	destroy.SetDestroy(1, ReasonDone)
	f.Add(relay[:], destroy[:])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var first, second Cell
		copy(first[:], a)
		copy(second[:], b)
		cmd := first.Command()
		if joined, err := JoinCreate(&first, &second, cmd); err == nil {
			again, err := SplitCreate(joined, first.CircID(), cmd)
			if err != nil || again != [createParts]Cell{first, second} {
				t.Fatalf("what was joined is not split alike: %v", err)
			}
		}
		if CheckHeader(&first) != nil || cmd != CmdRelay && cmd != CmdRelayEarly {
			return
		}
		// Nothing that strangers write is recognised, and nothing fails.
		// (The seed's relay cell is genuine.)
		c := chain.clone()
		genuine := bytes.Equal(first.Body(), relay.Body())
		if ok, _, _ := c.relays[0].Outbound(&first); ok != genuine {
			t.Fatalf("recognised: %v, genuine: %v", ok, genuine)
		}
		if _, _, _, err := c.client.Open(&second); err == nil {
			t.Fatal("the client opened a stranger's cell")
		}
	})
}

func FuzzCreate(f *testing.F) {
	_, create := startTest(f, ClassStream, []byte("hello"))
	f.Add(create)
	f.Add(create[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		created, keys, err := answerTest(in, echoReply, t)
		if (err == nil) != bytes.Equal(in, create) {
			// Another CREATE may be valid, but only who knows the test's keys
			// could make it.
			t.Fatalf("a CREATE of %d bytes gives %v", len(in), err)
		}
		if err == nil && (len(created) != HandshakeSize || keys == nil) {
			t.Fatal("an answer without bytes or keys")
		}
	})
}

func FuzzCreated(f *testing.F) {
	state, create := startTest(f, ClassStream, []byte("hello"))
	created, _, err := answerTest(create, echoReply, f)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(created)
	f.Add(created[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, _, err := state.Finish(in); (err == nil) != bytes.Equal(in, created) {
			// As above: only the test's relay could make another.
			t.Fatalf("a CREATED of %d bytes gives %v", len(in), err)
		}
	})
}

func FuzzMessages(f *testing.F) {
	var p Packer
	for _, m := range []Message{
		Begin(1, identity.NodeID{1}),
		{MsgData, 1, []byte("early")},
		Sendme(Tag{1}),
		Extend(identity.NodeID{2}, handshakeBytes()),
		Extended(handshakeBytes()),
		Truncated(ReasonLimit),
		Probe([8]byte{3}),
		End(1, ReasonDone),
		Cover(time.Minute, 5),
		Drop(),
	} {
		if err := p.Add(m); err != nil {
			f.Fatal(err)
		}
	}
	payloads, _ := packAll(&p)
	f.Add(bytes.Join(payloads, nil))
	f.Add(payloads[0])
	f.Fuzz(func(t *testing.T, in []byte) {
		var cut [][]byte
		for len(in) > 0 {
			n := min(PayloadSize, len(in))
			cut, in = append(cut, in[:n]), in[n:]
		}
		got, _, err := unpackAll(cut)
		if err != nil && !errors.Is(err, ErrMessage) && !errors.Is(err, ErrMessageTooLong) {
			t.Fatalf("unexpected error: %v", err)
		}
		repack(t, got)
	})
}

// repack reads every field of the messages, packs them again and expects the
// same.
func repack(t *testing.T, messages []Message) {
	for _, m := range messages {
		_, _ = m.Target()
		_, _ = m.Reason()
		_, _ = m.SendmeTag()
		_, _, _ = m.Extension()
		_, _ = m.Created()
		_, _ = m.Token()
		_ = m.CheckDrop()
		if mean, train, err := m.Coverage(); err == nil && !sameMessage(Cover(mean, train), m) {
			t.Fatal("a COVER that was read is not written alike")
		}
		var p Packer
		if err := p.Add(m); err != nil {
			t.Fatal(err)
		}
		payloads, _ := packAll(&p)
		again, _, err := unpackAll(payloads)
		if err != nil || len(again) != 1 || !sameMessage(again[0], m) {
			t.Fatalf("a message that was read does not come back: %v", err)
		}
	}
}
