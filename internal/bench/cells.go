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
	c, err := newCellWork(perRound)
	if err != nil {
		return err
	}
	seal, err := newGCMSeal()
	if err != nil {
		return err
	}
	r.Note("sealing %d cells of %d bytes in %d interleaved rounds", rounds*perRound, onion.CellSize, rounds)
	times, err := interleave(ctx, rounds, perRound, seal, c.forward, c.originate, c.answer, c.back, c.open)
	if err != nil {
		return err
	}
	figures := []Figure{
		{Name: "relay_forward", Value: times[1], Unit: "ns"},
		{Name: "client_originate_3hops", Value: times[2], Unit: "ns"},
		{Name: "relay_originate", Value: times[3], Unit: "ns"},
		{Name: "client_open_3hops", Value: times[5], Unit: "ns"},
	}
	for i := range figures {
		figures[i] = figures[i].against("aes128gcm_seal", times[0])
	}
	figures = append(figures,
		Figure{Name: "relay_forward_allocs", Value: allocations(perRound, c.forward), Unit: "allocs"},
		Figure{Name: "client_originate_allocs", Value: allocations(perRound, c.originate), Unit: "allocs"},
		Figure{Name: "relay_originate_allocs", Value: allocations(perRound, c.answer), Unit: "allocs"},
		Figure{Name: "client_open_allocs", Value: allocations(perRound, c.back, c.open), Unit: "allocs"},
	)
	for i := range figures {
		figures[i].Bench = "cells"
	}
	if c.failed != nil {
		return c.failed
	}
	return r.emit(figures...)
}

// cellWork is what is measured: each method does its work on one cell.
type cellWork struct {
	client *onion.ClientCircuit
	relays []*onion.RelayCircuit
	cell   *onion.Cell
	other  *onion.RelayCircuit // a relay whose client reads nothing

	// A round's worth of cells on their way back to the client: back makes
	// them, open opens them.
	way          []onion.Cell
	made, opened int
	failed       error
}

func newCellWork(perRound int) (*cellWork, error) {
	client, relays, err := newLayers(cellHops)
	if err != nil {
		return nil, err
	}
	_, others, err := newLayers(1)
	if err != nil {
		return nil, err
	}
	return &cellWork{
		client: client, relays: relays, cell: newRelayCell(), other: others[0],
		way: make([]onion.Cell, perRound),
	}, nil
}

func (c *cellWork) note(err error) { c.failed = cmp.Or(c.failed, err) }

// forward is a relay's work on a cell from the client that passes on.
func (c *cellWork) forward() { c.other.Outbound(c.cell) }

// originate is the client's work on a cell for the exit.
func (c *cellWork) originate() {
	_, err := c.client.Seal(cellHops-1, c.cell, c.cell.Payload())
	c.note(err)
}

// answer is an exit's work on a cell of its own.
func (c *cellWork) answer() {
	_, err := c.other.Originate(c.cell, c.cell.Payload())
	c.note(err)
}

// back is the work of all three relays on a cell for the client.
func (c *cellWork) back() {
	cell := &c.way[c.made%len(c.way)]
	c.made++
	cell.SetHeader(1, onion.CmdRelay)
	_, err := c.relays[cellHops-1].Originate(cell, cell.Payload())
	c.note(err)
	for i := cellHops - 2; i >= 0; i-- {
		c.relays[i].Inbound(cell)
	}
}

// open is the client's work on the next cell that back made.
func (c *cellWork) open() {
	_, _, _, err := c.client.Open(&c.way[c.opened%len(c.way)])
	c.opened++
	c.note(err)
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
