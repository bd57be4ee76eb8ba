package onion

import (
	"crypto/aes"
	"crypto/cipher"
	"testing"
)

func benchCircuit(b *testing.B, hops int) (*ClientCircuit, []*RelayCircuit) {
	b.Helper()
	var client ClientCircuit
	relays := make([]*RelayCircuit, hops)
	for i := range relays {
		stream := make([]byte, keysSize)
		for j := range stream {
			stream[j] = byte(i*7 + j)
		}
		if err := client.AddHop(keysFrom(stream)); err != nil {
			b.Fatal(err)
		}
		relays[i] = NewRelayCircuit(keysFrom(stream))
	}
	return &client, relays
}

func BenchmarkRelayForward(b *testing.B) {
	_, relays := benchCircuit(b, 1)
	var cell Cell
	cell.SetHeader(1, CmdRelay)
	b.SetBytes(CellSize)
	b.ReportAllocs()
	for b.Loop() {
		relays[0].Outbound(&cell)
	}
}

func BenchmarkRelayBackward(b *testing.B) {
	_, relays := benchCircuit(b, 1)
	var cell Cell
	cell.SetHeader(1, CmdRelay)
	b.SetBytes(CellSize)
	b.ReportAllocs()
	for b.Loop() {
		relays[0].Inbound(&cell)
	}
}

func BenchmarkRelayOriginate(b *testing.B) {
	_, relays := benchCircuit(b, 1)
	var cell Cell
	cell.SetHeader(1, CmdRelay)
	b.SetBytes(CellSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := relays[0].Originate(&cell, cell.Payload()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClientOriginate3Hops(b *testing.B) {
	client, _ := benchCircuit(b, 3)
	var cell Cell
	cell.SetHeader(1, CmdRelay)
	b.SetBytes(CellSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Seal(2, &cell, cell.Payload()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAES128GCMSeal is the baseline: one AEAD over as many bytes.
func BenchmarkAES128GCMSeal(b *testing.B) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	in, out, nonce := make([]byte, CellSize), make([]byte, 0, CellSize+16), make([]byte, 12)
	b.SetBytes(CellSize)
	b.ReportAllocs()
	for b.Loop() {
		out = gcm.Seal(out[:0], nonce, in, nil)
	}
}

func BenchmarkPolyvalCell(b *testing.B) {
	var k polyvalKey
	k.init([]byte("0123456789abcdef"))
	in := make([]byte, PayloadSize)
	b.SetBytes(PayloadSize)
	for b.Loop() {
		k.sum(fieldElement{}, in)
	}
}

func BenchmarkUpdate(b *testing.B) {
	_, relays := benchCircuit(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		relays[0].forward.update(BodySize)
	}
}
