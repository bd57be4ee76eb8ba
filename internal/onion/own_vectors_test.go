package onion

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"sotto/internal/identity"
)

var update = flag.Bool("update", false, "write spec/vectors/onion.json anew")

// ownVectors is spec/vectors/onion.json (spec/onion.md §8).
type ownVectors struct {
	Source    string            `json:"source"`
	Handshake handshakeVector   `json:"handshake"`
	Create    []changeVector    `json:"create_failures"`
	Created   []changeVector    `json:"created_failures"`
	Padding   []paddingVector   `json:"create_padding_failures"`
	Work      workVector        `json:"work"`
	Circuit   circuitVector     `json:"circuit"`
	Messages  []messagesVector  `json:"messages"`
	Malformed []malformedVector `json:"message_failures"`
	Headers   []headerVector    `json:"headers"`
	Parts     []partsVector     `json:"create_parts"`
	Fields    []malformedVector `json:"field_failures"`
	Tampered  []circuitVector   `json:"tampered_circuits"`
}

type handshakeVector struct {
	Relay         hexBytes `json:"relay_id"`
	OnionSecret   hexBytes `json:"onion_secret"`
	ClientRandom  hexBytes `json:"client_random"`
	RelayRandom   hexBytes `json:"relay_random"`
	KEMRandom     hexBytes `json:"kem_random"`
	Class         uint8    `json:"class"`
	ClientMessage hexBytes `json:"client_message"`
	ServerMessage hexBytes `json:"server_message"`
	Create        hexBytes `json:"create"`
	Created       hexBytes `json:"created"`
	Forward       hexBytes `json:"keys_forward"`
	Backward      hexBytes `json:"keys_backward"`
}

// changeVector is the handshake's CREATE or CREATED, cut to Size bytes (0 for
// all) and with Xor at Offset, and the class of error that refuses it.
type changeVector struct {
	Name   string `json:"name"`
	Size   int    `json:"size,omitempty"`
	Offset int    `json:"offset"`
	Xor    uint8  `json:"xor"`
	Error  string `json:"error"`
}

// circuitVector is a circuit of three hops and what passes over it in order.
type circuitVector struct {
	Keys  []hexBytes `json:"keys_forward_backward"`
	Steps []step     `json:"steps"`
}

// step is a cell: its payload, of which zeros at the end are left out, and the
// SHA-256 of its body on the link between client and guard. With Flip, that
// bit of the body is changed there, and nobody recognises it.
type step struct {
	Outbound bool     `json:"outbound"`
	Early    bool     `json:"early,omitempty"`
	Hop      int      `json:"hop"`
	Payload  hexBytes `json:"payload"`
	Flip     *int     `json:"flip,omitempty"`
	Body     hexBytes `json:"body_sha256"`
	Tag      hexBytes `json:"tag"`
	Error    string   `json:"error,omitempty"`
}

type messagesVector struct {
	Messages []messageVector `json:"messages"`
	Payloads []hexBytes      `json:"payloads"` // zeros at the end left out
}

type messageVector struct {
	Command uint8    `json:"command"`
	Stream  uint16   `json:"stream"`
	Data    hexBytes `json:"data"`
}

type malformedVector struct {
	Name    string   `json:"name"`
	Payload hexBytes `json:"payload"`
	Error   string   `json:"error"`
}

type headerVector struct {
	Name   string   `json:"name"`
	Header hexBytes `json:"header"`
	Error  string   `json:"error,omitempty"`
}

// partsVector is two cells with these headers, whose bodies are zeros but for
// the last byte of the second.
type partsVector struct {
	Name   string   `json:"name"`
	First  hexBytes `json:"first_header"`
	Second hexBytes `json:"second_header"`
	Last   uint8    `json:"last_byte"`
	Error  string   `json:"error,omitempty"`
}

func (v partsVector) join() error {
	var first, second Cell
	copy(first[:], v.First)
	copy(second[:], v.Second)
	second[CellSize-1] = v.Last
	_, err := JoinCreate(&first, &second, CmdCreate)
	return err
}

// readFields reads what a message of its command holds.
func readFields(m Message) (err error) {
	switch m.Command {
	case MsgBegin:
		_, err = m.Target()
	case MsgEnd, MsgTruncated:
		_, err = m.Reason()
	case MsgSendme:
		_, err = m.SendmeTag()
	case MsgExtend:
		_, _, err = m.Extension()
	case MsgExtended:
		_, err = m.Created()
	case MsgProbe, MsgProbeReply:
		_, err = m.Token()
	}
	return err
}

// tampered are circuits on which one bit of the second cell is flipped, in
// either direction: at both ends of the tag and of the payload.
func tampered(keys []hexBytes) (out []circuitVector) {
	for _, outbound := range []bool{true, false} {
		for _, bit := range []int{0, 8*TagSize - 1, 8 * TagSize, 8*BodySize - 1} {
			out = append(out, circuitVector{Keys: keys, Steps: []step{
				{Outbound: outbound, Hop: 2, Payload: hexBytes("whole")},
				{Outbound: outbound, Hop: 2, Payload: hexBytes("changed"), Flip: &bit},
				{Outbound: outbound, Hop: 2, Payload: hexBytes("lost")},
			}})
		}
	}
	return out
}

// errorClasses are the names that vectors give to errors.
var errorClasses = map[string]error{
	"size":         ErrCreate,
	"version":      ErrVersion,
	"class":        ErrClass,
	"key":          ErrOnionKey,
	"handshake":    ErrHandshake,
	"unrecognized": ErrUnrecognized,
	"message":      ErrMessage,
	"too_long":     ErrMessageTooLong,
	"command":      ErrCommand,
	"reserved":     ErrReserved,
	"work":         ErrWork,
	"replay":       ErrReplay,
}

func errorClass(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	for name, sentinel := range errorClasses {
		if errors.Is(err, sentinel) {
			return name
		}
	}
	t.Fatalf("error of no class: %v", err)
	return ""
}

// runHandshake fills in what follows from the inputs of v.
func (v *handshakeVector) run(t *testing.T) *ClientHandshake {
	t.Helper()
	id, secret := identity.NodeID(v.Relay), dhKey(t, v.OnionSecret)
	state, create, err := StartHandshake(bytes.NewReader(v.ClientRandom), id, secret.Public(), v.Class, v.ClientMessage)
	if err != nil {
		t.Fatal(err)
	}
	created, keys, err := v.answer(t, create)
	if err != nil {
		t.Fatal(err)
	}
	v.Create, v.Created = create, created
	v.Forward, v.Backward = keys.forward[:], keys.backward[:]
	return state
}

func (v *handshakeVector) answer(t *testing.T, create []byte) ([]byte, *Keys, error) {
	return answerHandshake(bytes.NewReader(v.RelayRandom), fixedKEM(v.KEMRandom), identity.NodeID(v.Relay),
		dhKey(t, v.OnionSecret), create, func(Class, []byte) ([]byte, error) { return v.ServerMessage, nil })
}

func (c changeVector) apply(handshake []byte) []byte {
	out := bytes.Clone(handshake)
	out[c.Offset] ^= c.Xor
	if c.Size > 0 {
		out = out[:c.Size]
	}
	return out
}

// run fills in what follows from the keys and the steps' inputs.
func (v *circuitVector) run(t *testing.T) {
	t.Helper()
	c := &chain{client: new(ClientCircuit)}
	for _, k := range v.Keys {
		if err := c.client.AddHop(keysFrom(k)); err != nil {
			t.Fatal(err)
		}
		c.relays = append(c.relays, NewRelayCircuit(keysFrom(k)))
	}
	for i := range v.Steps {
		s := &v.Steps[i]
		var err error
		if s.Outbound {
			err = s.outbound(t, c)
		} else {
			err = s.inbound(t, c)
		}
		s.Error = errorClass(t, err)
	}
}

// mark records the body between client and guard, and then flips its bit.
func (s *step) mark(cell *Cell) {
	sum := sha256.Sum256(cell.Body())
	s.Body = sum[:]
	if s.Flip != nil {
		cell.Body()[*s.Flip/8] ^= 0x80 >> (*s.Flip % 8)
	}
}

func (s *step) outbound(t *testing.T, c *chain) error {
	cmd := CmdRelay
	if s.Early {
		cmd = CmdRelayEarly
	}
	cell, tag := c.sealAs(t, cmd, s.Hop, s.Payload)
	s.Tag = tag[:]
	s.mark(cell)
	hop, payload, _ := c.outbound(cell, nil)
	if hop == -1 {
		return ErrUnrecognized
	}
	equalBytes(t, "payload", payload[:len(s.Payload)], s.Payload)
	return nil
}

func (s *step) inbound(t *testing.T, c *chain) error {
	cell, tag := c.inbound(t, s.Hop, s.Payload, nil)
	s.Tag = tag[:]
	s.mark(cell)
	_, payload, _, err := c.client.Open(cell)
	if err == nil {
		equalBytes(t, "payload", payload[:len(s.Payload)], s.Payload)
	}
	return err
}

func (v *messagesVector) run(t *testing.T) {
	t.Helper()
	var p Packer
	for _, m := range v.Messages {
		if err := p.Add(Message{MsgCommand(m.Command), m.Stream, m.Data}); err != nil {
			t.Fatal(err)
		}
	}
	payloads, _ := packAll(&p)
	v.Payloads = nil
	for _, payload := range payloads {
		v.Payloads = append(v.Payloads, bytes.TrimRight(payload, "\x00"))
	}
	got, _, err := unpackAll(payloads)
	if err != nil || len(got) != len(v.Messages) {
		t.Fatalf("%d messages come back, error %v", len(got), err)
	}
}

// run fills in everything that follows from inputs.
func (v *ownVectors) run(t *testing.T) {
	t.Helper()
	state := v.Handshake.run(t)
	for i := range v.Create {
		_, _, err := v.Handshake.answer(t, v.Create[i].apply(v.Handshake.Create))
		v.Create[i].Error = errorClass(t, err)
	}
	for i := range v.Created {
		_, _, err := state.Finish(v.Created[i].apply(v.Handshake.Created))
		v.Created[i].Error = errorClass(t, err)
	}
	for i := range v.Padding {
		v.Padding[i].run(t, &v.Handshake)
	}
	v.Work.run(t, &v.Handshake)
	v.Circuit.run(t)
	for i := range v.Messages {
		v.Messages[i].run(t)
	}
	for i := range v.Malformed {
		_, _, err := unpackAll([][]byte{v.Malformed[i].Payload})
		v.Malformed[i].Error = errorClass(t, err)
	}
	for i := range v.Fields {
		got, _, err := unpackAll([][]byte{v.Fields[i].Payload})
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %d messages, error %v", v.Fields[i].Name, len(got), err)
		}
		v.Fields[i].Error = errorClass(t, readFields(got[0]))
	}
	for i := range v.Parts {
		v.Parts[i].Error = errorClass(t, v.Parts[i].join())
	}
	for i := range v.Tampered {
		v.Tampered[i].run(t)
	}
	for i := range v.Headers {
		var c Cell
		copy(c[:], v.Headers[i].Header)
		v.Headers[i].Error = errorClass(t, CheckHeader(&c))
	}
}

func TestOwnVectors(t *testing.T) {
	path := filepath.Join(moduleRoot(t), "spec", "vectors", "onion.json")
	if *update {
		v := vectorInputs()
		v.run(t)
		out, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want, got ownVectors
	for _, v := range []*ownVectors{&want, &got} {
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatal(err)
		}
	}
	got.run(t)
	if !reflect.DeepEqual(got, want) {
		t.Fatal("what follows from the inputs of spec/vectors/onion.json differs from what stands there")
	}
}

// workTime is in the middle of a slot.
const workTime = 1_800_000_030

func vectorInputs() *ownVectors {
	fill := func(n int, seed counting) hexBytes {
		b := make([]byte, n)
		_, _ = seed.Read(b)
		return b
	}
	flip := 8*700 + 3
	at := func(n int) int { return createHead + n }
	return &ownVectors{
		Source: "Inputs are arbitrary; everything else follows from them by spec/onion.md. All bytes hex.",
		Handshake: handshakeVector{
			Relay: fill(32, 1), OnionSecret: fill(32, 2), ClientRandom: fill(96, 3), RelayRandom: fill(32, 4),
			KEMRandom: fill(32, 5), Class: ClassStream,
			ClientMessage: hexBytes("hello relay"), ServerMessage: hexBytes("hello client"),
		},
		Create: []changeVector{
			{Name: "cut", Size: HandshakeSize - 1},
			{Name: "version 3", Offset: 0, Xor: 2},
			{Name: "class 3", Offset: 1, Xor: 2},
			{Name: "effort without work", Offset: 2, Xor: 1},
			{Name: "nonce", Offset: 10, Xor: 1},
			{Name: "another relay", Offset: at(0), Xor: 1},
			{Name: "another onion key", Offset: at(32), Xor: 1},
			{Name: "another ephemeral key", Offset: at(64), Xor: 1},
			{Name: "unused bit of the ephemeral key", Offset: at(95), Xor: 0x80},
			{Name: "another KEM key", Offset: at(96), Xor: 1},
			{Name: "changed message", Offset: HandshakeSize - 40, Xor: 1},
			{Name: "changed MAC", Offset: HandshakeSize - 1, Xor: 1},
		},
		Created: []changeVector{
			{Name: "cut", Size: HandshakeSize - 1},
			{Name: "version 3", Offset: 0, Xor: 2},
			{Name: "another ephemeral key", Offset: 1, Xor: 1},
			{Name: "another KEM ciphertext", Offset: 33, Xor: 1},
			{Name: "changed AUTH", Offset: 33 + 1088, Xor: 1},
			{Name: "changed message", Offset: HandshakeSize - 1, Xor: 1},
		},
		Padding: []paddingVector{
			{Name: "last byte set", Sealed: append(make(hexBytes, createSealedSize-1), 1)},
			{Name: "byte after the message set", Sealed: append(hexBytes{0, 2, 'o', 'k', 1}, make(hexBytes, createSealedSize-5)...)},
			{Name: "longer than there is room", Sealed: append(hexBytes{0xff, 0xff}, make(hexBytes, createSealedSize-2)...)},
		},
		Work: workVector{
			Effort: 10, Time: workTime,
			Cases: []workCase{
				{Name: "at once", Now: workTime},
				{Name: "a minute late", Now: workTime + 60},
				{Name: "a minute early", Now: workTime - 60},
				{Name: "used before", Now: workTime, UsedAt: workTime},
				{Name: "used before, a minute ago", Now: workTime + 60, UsedAt: workTime},
				{Name: "two minutes late", Now: workTime + 120},
				{Name: "two minutes early", Now: workTime - 120},
				{Name: "more effort than was made", Now: workTime, Offset: 2, Xor: 10 ^ 40},
				{Name: "another nonce", Now: workTime, Offset: 3, Xor: 1},
				{Name: "a nonce without effort", Now: workTime, Offset: 2, Xor: 10},
				{Name: "another ephemeral key", Now: workTime, Offset: at(64), Xor: 1},
				{Name: "another version", Now: workTime, Offset: 0, Xor: 2},
				{Name: "for another relay", Now: workTime, OtherRelay: true},
			},
		},
		Circuit: circuitVector{
			Keys: []hexBytes{fill(keysSize, 6), fill(keysSize, 7), fill(keysSize, 8)},
			Steps: []step{
				{Outbound: true, Hop: 2, Payload: hexBytes("to the exit")},
				{Outbound: true, Hop: 0, Payload: hexBytes("to the guard")},
				{Outbound: true, Early: true, Hop: 1, Payload: hexBytes("part of an EXTEND")},
				{Outbound: true, Hop: 2, Payload: fill(PayloadSize, 9)},
				{Outbound: false, Hop: 2, Payload: hexBytes("from the exit")},
				{Outbound: false, Hop: 1, Payload: hexBytes("from the middle")},
				{Outbound: false, Hop: 2, Payload: fill(PayloadSize, 10)},
				{Outbound: true, Hop: 1, Payload: hexBytes("to the middle")},
				{Outbound: true, Hop: 2, Payload: hexBytes("changed on the way"), Flip: &flip},
				{Outbound: true, Hop: 2, Payload: hexBytes("lost, too")},
				{Outbound: false, Hop: 2, Payload: hexBytes("changed on the way"), Flip: &flip},
				{Outbound: false, Hop: 2, Payload: hexBytes("lost, too")},
			},
		},
		Messages: []messagesVector{
			{Messages: []messageVector{
				{uint8(MsgBegin), 1, fill(32, 11)},
				{uint8(MsgData), 1, hexBytes("early")},
				{uint8(MsgSendme), 0, fill(16, 12)},
				{uint8(MsgEnd), 1, hexBytes{0}},
				{uint8(MsgConnected), 2, hexBytes{}},
			}},
			{Messages: []messageVector{{uint8(MsgData), 1, fill(MaxData-4, 13)}, {uint8(MsgDrop), 0, hexBytes{}}}},
			{Messages: []messageVector{{uint8(MsgExtend), 0, fill(32+HandshakeSize, 14)}, {uint8(MsgProbe), 0, fill(8, 15)}}},
		},
		Malformed: []malformedVector{
			{Name: "unknown command", Payload: hexBytes{13, 0, 0, 0, 0}},
			{Name: "over 4,096 bytes", Payload: hexBytes{3, 0, 1, 0x10, 0x01}},
		},
		Headers: []headerVector{
			{Name: "relay", Header: hexBytes{0, 0, 0, 1, 3, 1, 0, 0}},
			{Name: "second part of CREATE", Header: hexBytes{0, 0, 0, 1, 1, 1, 1, 0}},
			{Name: "version 2", Header: hexBytes{0, 0, 0, 1, 3, 2, 0, 0}},
			{Name: "early", Header: hexBytes{0, 0, 0, 1, 5, 1, 0, 0}},
			{Name: "unknown command", Header: hexBytes{0, 0, 0, 1, 6, 1, 0, 0}},
			{Name: "third part of CREATE", Header: hexBytes{0, 0, 0, 1, 1, 1, 2, 0}},
			{Name: "reserved byte", Header: hexBytes{0, 0, 0, 1, 3, 1, 0, 1}},
			{Name: "version 0", Header: hexBytes{0, 0, 0, 1, 3, 0, 0, 0}},
			{Name: "last command", Header: hexBytes{0, 0, 0, 1, 255, 1, 0, 0}},
			{Name: "second part of RELAY", Header: hexBytes{0, 0, 0, 1, 3, 1, 1, 0}},
			{Name: "second part of DESTROY", Header: hexBytes{0, 0, 0, 1, 4, 1, 1, 0}},
			{Name: "all bits", Header: hexBytes{255, 255, 255, 255, 255, 255, 255, 255}},
		},
		Parts: []partsVector{
			{Name: "whole", First: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}, Second: hexBytes{0, 0, 0, 1, 1, 1, 1, 0}},
			{Name: "first part twice", First: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}, Second: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}},
			{Name: "second part first", First: hexBytes{0, 0, 0, 1, 1, 1, 1, 0}, Second: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}},
			{Name: "two circuits", First: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}, Second: hexBytes{0, 0, 0, 2, 1, 1, 1, 0}},
			{Name: "two commands", First: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}, Second: hexBytes{0, 0, 0, 1, 2, 1, 1, 0}},
			{Name: "version of the second", First: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}, Second: hexBytes{0, 0, 0, 1, 1, 2, 1, 0}},
			{Name: "no zeros at the end", First: hexBytes{0, 0, 0, 1, 1, 1, 0, 0}, Second: hexBytes{0, 0, 0, 1, 1, 1, 1, 0}, Last: 1},
		},
		Fields: []malformedVector{
			{Name: "BEGIN without stream", Payload: append(hexBytes{1, 0, 0, 0, 32}, fill(32, 16)...)},
			{Name: "BEGIN cut", Payload: append(hexBytes{1, 0, 1, 0, 31}, fill(31, 16)...)},
			{Name: "END without reason", Payload: hexBytes{4, 0, 1, 0, 0}},
			{Name: "END too long", Payload: hexBytes{4, 0, 1, 0, 2, 1, 1}},
			{Name: "SENDME cut", Payload: append(hexBytes{5, 0, 0, 0, 15}, fill(15, 17)...)},
			{Name: "SENDME of a stream with a tag", Payload: append(hexBytes{5, 0, 1, 0, 16}, fill(16, 17)...)},
			{Name: "EXTEND cut", Payload: append(hexBytes{6, 0, 0, 0, 32}, fill(32, 18)...)},
			{Name: "EXTENDED empty", Payload: hexBytes{7, 0, 0, 0, 0}},
			{Name: "TRUNCATED of a stream", Payload: hexBytes{8, 0, 1, 0, 1, 0}},
			{Name: "PROBE too long", Payload: append(hexBytes{9, 0, 0, 0, 9}, fill(9, 19)...)},
		},
		Tampered: tampered([]hexBytes{fill(keysSize, 20), fill(keysSize, 21), fill(keysSize, 22)}),
	}
}
