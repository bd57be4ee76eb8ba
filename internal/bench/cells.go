package bench

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"

	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// Sizes of the measurement: a round of some milliseconds is long for the clock
// and short for whatever else the machine does; the median of many is steady.
const (
	cellRounds    = 200
	cellsPerRound = 4000
	cellHops      = 3
)

func cells(ctx context.Context, r Run) error { return measureCells(ctx, r, cellRounds, cellsPerRound) }

func measureCells(ctx context.Context, r Run, rounds, perRound int) error {
	client, relays, err := newLayers(cellHops)
	if err != nil {
		return err
	}
	seal, err := newGCMSeal()
	if err != nil {
		return err
	}
	forwarded, originated := newRelayCell(), newRelayCell()
	var failed error
	r.Note("sealing %d cells of %d bytes in %d interleaved rounds", rounds*perRound, onion.CellSize, rounds)
	times, err := interleave(ctx, rounds, perRound,
		seal,
		func() { relays[0].Outbound(forwarded) },
		func() {
			if _, err := client.Seal(cellHops-1, originated, originated.Payload()); err != nil {
				failed = err
			}
		},
	)
	if err != nil || failed != nil {
		return cmp.Or(err, failed)
	}
	return r.emit(
		Figure{Bench: "cells", Name: "relay_forward", Value: times[1], Unit: "ns"}.against("aes128gcm_seal", times[0]),
		Figure{Bench: "cells", Name: "client_originate_3hops", Value: times[2], Unit: "ns"}.against("aes128gcm_seal", times[0]),
	)
}

// newLayers makes a circuit's two sides by real handshakes.
func newLayers(hops int) (*onion.ClientCircuit, []*onion.RelayCircuit, error) {
	client := new(onion.ClientCircuit)
	relays := make([]*onion.RelayCircuit, hops)
	for i := range relays {
		near, far, err := handshake(identity.NodeID{byte(i + 1)})
		if err != nil {
			return nil, nil, err
		}
		if err := client.AddHop(near); err != nil {
			return nil, nil, err
		}
		relays[i] = onion.NewRelayCircuit(far)
	}
	return client, relays, nil
}

// handshake returns the keys that a client and a relay agree on.
func handshake(relay identity.NodeID) (near, far *onion.Keys, err error) {
	secret, err := suite.NewDHPrivate(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	state, create, err := onion.StartHandshake(rand.Reader, relay, secret.Public(), onion.ClassStream, nil)
	if err != nil {
		return nil, nil, err
	}
	accept := func(onion.Class, []byte) ([]byte, error) { return nil, nil }
	created, far, err := onion.AnswerHandshake(rand.Reader, relay, secret, create, accept)
	if err != nil {
		return nil, nil, err
	}
	near, _, err = state.Finish(created)
	return near, far, err
}

func newRelayCell() *onion.Cell {
	c := new(onion.Cell)
	c.SetHeader(1, onion.CmdRelay)
	return c
}

// newGCMSeal returns the baseline: one AEAD over a cell's bytes.
func newGCMSeal() (func(), error) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	in, out := make([]byte, onion.CellSize), make([]byte, 0, onion.CellSize+gcm.Overhead())
	nonce := make([]byte, gcm.NonceSize())
	// One nonce for all is harmless here: key and plaintext are zeros.
	return func() { out = gcm.Seal(out[:0], nonce, in, nil) }, nil
}
