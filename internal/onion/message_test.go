package onion

import (
	"bytes"
	"errors"
	"testing"

	"sotto/internal/identity"

	"pgregory.net/rapid"
)

// packAll returns the payloads of all that p holds.
func packAll(p *Packer) (payloads [][]byte, data []bool) {
	for {
		payload := make([]byte, PayloadSize)
		isData, ok := p.Next(payload)
		if !ok {
			return payloads, data
		}
		payloads, data = append(payloads, payload), append(data, isData)
	}
}

// unpackAll returns copies of the messages in payloads.
func unpackAll(payloads [][]byte) (messages []Message, data []bool, err error) {
	var u Unpacker
	for _, payload := range payloads {
		isData, err := u.Feed(payload, func(m Message) error {
			m.Data = bytes.Clone(m.Data)
			messages = append(messages, m)
			return nil
		})
		if err != nil {
			return messages, data, err
		}
		data = append(data, isData)
	}
	return messages, data, nil
}

func sameMessage(a, b Message) bool {
	return a.Command == b.Command && a.Stream == b.Stream && bytes.Equal(a.Data, b.Data)
}

func TestMessagesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Message {
			return Message{
				Command: MsgCommand(rapid.IntRange(1, int(lastMsgCommand)).Draw(t, "command")),
				Stream:  rapid.Uint16().Draw(t, "stream"),
				Data:    make([]byte, rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(1100, 1140), rapid.IntRange(0, MaxMessage)).Draw(t, "size")),
			}
		}), 0, 12).Draw(t, "messages")
		var p Packer
		for i, m := range sent {
			for j := range m.Data {
				m.Data[j] = byte(i + j)
			}
			if err := p.Add(m); err != nil {
				t.Fatal(err)
			}
		}
		payloads, packed := packAll(&p)
		got, unpacked, err := unpackAll(payloads)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(sent) {
			t.Fatalf("%d messages, want %d", len(got), len(sent))
		}
		for i := range got {
			if !sameMessage(got[i], sent[i]) {
				t.Fatalf("message %d differs", i)
			}
		}
		for i := range packed {
			if packed[i] != unpacked[i] {
				t.Fatalf("cell %d: the ends disagree whether it holds DATA", i)
			}
		}
	})
}

func TestCellsPerMessage(t *testing.T) {
	tests := map[string]struct {
		messages []Message
		cells    int
	}{
		"full DATA":                    {[]Message{{MsgData, 1, make([]byte, MaxData)}}, 1},
		"DATA over a cell":             {[]Message{{MsgData, 1, make([]byte, MaxData+1)}}, 2},
		"EXTEND":                       {[]Message{Extend(identity.NodeID{}, make([]byte, HandshakeSize))}, 2},
		"EXTENDED":                     {[]Message{Extended(make([]byte, HandshakeSize))}, 2},
		"BEGIN and early DATA":         {[]Message{Begin(1, identity.NodeID{}), {MsgData, 1, make([]byte, 1000)}}, 1},
		"no room for another header":   {[]Message{{MsgData, 1, make([]byte, MaxData-4)}, Connected(1)}, 2},
		"just room for another":        {[]Message{{MsgData, 1, make([]byte, MaxData-5)}, Connected(1)}, 1},
		"header at the end, then data": {[]Message{{MsgData, 1, make([]byte, MaxData-5)}, End(1, ReasonDone)}, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var p Packer
			for _, m := range tc.messages {
				if err := p.Add(m); err != nil {
					t.Fatal(err)
				}
			}
			payloads, _ := packAll(&p)
			if len(payloads) != tc.cells {
				t.Fatalf("%d cells, want %d", len(payloads), tc.cells)
			}
			if got, _, err := unpackAll(payloads); err != nil || len(got) != len(tc.messages) {
				t.Fatalf("%d messages, error %v", len(got), err)
			}
		})
	}
}

func TestPackerBounds(t *testing.T) {
	var p Packer
	if err := p.Add(Message{Command: MsgData, Data: make([]byte, MaxMessage+1)}); !errors.Is(err, ErrMessageTooLong) {
		t.Errorf("long message: got %v, want ErrMessageTooLong", err)
	}
	for _, cmd := range []MsgCommand{0, lastMsgCommand + 1} {
		if err := p.Add(Message{Command: cmd}); !errors.Is(err, ErrMessage) {
			t.Errorf("%v: got %v, want ErrMessage", cmd, err)
		}
	}
	var err error
	for range 2 * maxPacked / MaxMessage {
		if err = p.Add(Message{Command: MsgData, Data: make([]byte, MaxMessage)}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrPackerFull) || p.Pending() > maxPacked {
		t.Errorf("got %v with %d bytes pending, want ErrPackerFull", err, p.Pending())
	}
}

func TestUnpackerRefuses(t *testing.T) {
	tests := map[string]struct {
		payload []byte
		want    error
	}{
		"unknown command": {[]byte{byte(lastMsgCommand) + 1, 0, 0, 0, 0}, ErrMessage},
		"too long":        {[]byte{byte(MsgData), 0, 1, 0x10, 0x01}, ErrMessageTooLong},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := unpackAll([][]byte{tc.payload}); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
	stop := errors.New("stop")
	var u Unpacker
	if _, err := u.Feed([]byte{byte(MsgDrop), 0, 0, 0, 0}, func(Message) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the handler's error", err)
	}
}

func TestBytesAfterTheLastMessageAreIgnored(t *testing.T) {
	payload := bytes.Repeat([]byte{0xff}, PayloadSize)
	copy(payload, []byte{byte(MsgConnected), 0, 1, 0, 0, 0})
	got, _, err := unpackAll([][]byte{payload})
	if err != nil || len(got) != 1 {
		t.Fatalf("%d messages, error %v", len(got), err)
	}
}

func TestMessageFields(t *testing.T) {
	node := identity.NodeID{1, 2, 3}
	if got, err := Begin(5, node).Target(); err != nil || got != node {
		t.Errorf("BEGIN: %v, %v", got, err)
	}
	if got, err := End(5, ReasonLimit).Reason(); err != nil || got != ReasonLimit {
		t.Errorf("END: %v, %v", got, err)
	}
	if got, err := Truncated(ReasonTimeout).Reason(); err != nil || got != ReasonTimeout {
		t.Errorf("TRUNCATED: %v, %v", got, err)
	}
	if got, err := Sendme(Tag{9}).SendmeTag(); err != nil || got != (Tag{9}) {
		t.Errorf("SENDME: %v, %v", got, err)
	}
	if _, err := StreamSendme(5).SendmeTag(); err != nil {
		t.Errorf("stream's SENDME: %v", err)
	}
	if got, create, err := Extend(node, handshakeBytes()).Extension(); err != nil || got != node || !bytes.Equal(create, handshakeBytes()) {
		t.Errorf("EXTEND: %v, %v", got, err)
	}
	if got, err := Extended(handshakeBytes()).Created(); err != nil || !bytes.Equal(got, handshakeBytes()) {
		t.Errorf("EXTENDED: %v", err)
	}
	for _, m := range []Message{Probe([8]byte{7}), ProbeReply([8]byte{7})} {
		if got, err := m.Token(); err != nil || got != [8]byte{7} {
			t.Errorf("%v: %v, %v", m.Command, got, err)
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	target := func(m Message) error { _, err := m.Target(); return err }
	reason := func(m Message) error { _, err := m.Reason(); return err }
	sendme := func(m Message) error { _, err := m.SendmeTag(); return err }
	extension := func(m Message) error { _, _, err := m.Extension(); return err }
	created := func(m Message) error { _, err := m.Created(); return err }
	token := func(m Message) error { _, err := m.Token(); return err }
	tests := map[string]struct {
		m     Message
		parse func(Message) error
	}{
		"BEGIN without stream":     {Begin(0, identity.NodeID{}), target},
		"BEGIN cut":                {Message{MsgBegin, 1, make([]byte, 31)}, target},
		"target of DATA":           {Message{MsgData, 1, make([]byte, 32)}, target},
		"END without reason":       {Message{MsgEnd, 1, nil}, reason},
		"END without stream":       {Message{MsgEnd, 0, []byte{0}}, reason},
		"TRUNCATED with stream":    {Message{MsgTruncated, 1, []byte{0}}, reason},
		"reason of DATA":           {Message{MsgData, 0, []byte{0}}, reason},
		"SENDME cut":               {Message{MsgSendme, 0, make([]byte, 15)}, sendme},
		"stream's SENDME with tag": {Message{MsgSendme, 1, make([]byte, 16)}, sendme},
		"EXTEND cut":               {Message{MsgExtend, 0, make([]byte, 32+HandshakeSize-1)}, extension},
		"EXTEND with stream":       {Message{MsgExtend, 1, make([]byte, 32+HandshakeSize)}, extension},
		"EXTENDED cut":             {Message{MsgExtended, 0, make([]byte, HandshakeSize-1)}, created},
		"PROBE cut":                {Message{MsgProbe, 0, make([]byte, 7)}, token},
		"token of DROP":            {Message{MsgDrop, 0, make([]byte, 8)}, token},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tc.parse(tc.m); !errors.Is(err, ErrMessage) {
				t.Fatalf("got %v, want ErrMessage", err)
			}
		})
	}
}
