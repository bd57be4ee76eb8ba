package onion

import (
	"errors"
	"fmt"
	"math/bits"
	"testing"
)

// chain is a circuit in memory: a client and its relays, guard first.
type chain struct {
	client *ClientCircuit
	relays []*RelayCircuit
}

// testKeys are fixed keys of a hop, different for each.
func testKeys(hop int) *Keys {
	stream := make([]byte, keysSize)
	for i := range stream {
		stream[i] = byte(31*hop + 7*i + i*i>>3)
	}
	return keysFrom(stream)
}

func newChain(t testing.TB, hops int) *chain {
	t.Helper()
	c := &chain{client: new(ClientCircuit)}
	for i := range hops {
		if err := c.client.AddHop(testKeys(i)); err != nil {
			t.Fatal(err)
		}
		c.relays = append(c.relays, NewRelayCircuit(testKeys(i)))
	}
	return c
}

func testPayload(n int) []byte {
	p := make([]byte, PayloadSize)
	for i := range p {
		p[i] = byte(n + i*i>>4)
	}
	return p
}

func (c *chain) seal(t testing.TB, hop int, payload []byte) (*Cell, Tag) {
	t.Helper()
	return c.sealAs(t, CmdRelay, hop, payload)
}

func (c *chain) sealAs(t testing.TB, cmd Command, hop int, payload []byte) (*Cell, Tag) {
	t.Helper()
	cell := new(Cell)
	cell.SetHeader(1, cmd)
	tag, err := c.client.Seal(hop, cell, payload)
	if err != nil {
		t.Fatal(err)
	}
	return cell, tag
}

// outbound carries a cell from relay to relay until one recognises it. touch
// sees it before each relay.
func (c *chain) outbound(cell *Cell, touch func(link int)) (hop int, payload []byte, tag Tag) {
	for i, r := range c.relays {
		if touch != nil {
			touch(i)
		}
		if ok, payload, tag := r.Outbound(cell); ok {
			return i, payload, tag
		}
	}
	return -1, cell.Payload(), Tag{}
}

// inbound carries a cell of hop's own to the client. touch sees it after each
// relay.
func (c *chain) inbound(t testing.TB, hop int, payload []byte, touch func(cell *Cell, link int)) (*Cell, Tag) {
	t.Helper()
	cell := new(Cell)
	cell.SetHeader(1, CmdRelay)
	tag, err := c.relays[hop].Originate(cell, payload)
	if err != nil {
		t.Fatal(err)
	}
	for i := hop; i >= 0; i-- {
		if i < hop {
			c.relays[i].Inbound(cell)
		}
		if touch != nil {
			touch(cell, i)
		}
	}
	return cell, tag
}

func TestRoundTrips(t *testing.T) {
	for hops := 1; hops <= 3; hops++ {
		t.Run(fmt.Sprint(hops, " hops"), func(t *testing.T) {
			c := newChain(t, hops)
			for n := range 12 {
				hop, want := n%hops, testPayload(n)
				cell, sent := c.seal(t, hop, want)
				got, payload, tag := c.outbound(cell, nil)
				if got != hop || tag != sent {
					t.Fatalf("cell %d for hop %d: recognised by %d, tags equal: %v", n, hop, got, tag == sent)
				}
				equalBytes(t, "outbound payload", payload, want)

				cell, sent = c.inbound(t, hop, want, nil)
				got, payload, tag, err := c.client.Open(cell)
				if err != nil || got != hop || tag != sent {
					t.Fatalf("cell %d from hop %d: opened as from %d, tags equal: %v, error %v", n, hop, got, tag == sent, err)
				}
				equalBytes(t, "inbound payload", payload, want)
			}
		})
	}
}

func TestHopsAreAddedWhileInUse(t *testing.T) {
	c := &chain{client: new(ClientCircuit)}
	for hop := range 3 {
		if err := c.client.AddHop(testKeys(hop)); err != nil {
			t.Fatal(err)
		}
		c.relays = append(c.relays, NewRelayCircuit(testKeys(hop)))
		for to := range hop + 1 {
			cell, _ := c.seal(t, to, []byte("short"))
			if got, payload, _ := c.outbound(cell, nil); got != to || string(payload[:6]) != "short\x00" {
				t.Fatalf("hop %d: recognised by %d", to, got)
			}
		}
	}
}

// requireNoise fails if a payload looks like the one that was sent.
func requireNoise(t testing.TB, got, sent []byte) {
	t.Helper()
	different := 0
	for i := range sent {
		different += bits.OnesCount8(got[i] ^ sent[i])
	}
	// Noise differs in half of the 9,024 bits, give or take 47.5 at one sigma.
	if all := 8 * len(sent); different < all*45/100 || different > all*55/100 {
		t.Fatalf("%d of %d bits differ: not noise", different, all)
	}
}

// clone copies a chain's state, so that many changes start from one.
func (c *chain) clone() *chain {
	out := &chain{client: new(ClientCircuit)}
	copyLayer := func(l *layer) *layer { d := *l; return &d }
	for i, r := range c.relays {
		out.client.forward = append(out.client.forward, copyLayer(c.client.forward[i]))
		out.client.backward = append(out.client.backward, copyLayer(c.client.backward[i]))
		out.relays = append(out.relays, &RelayCircuit{copyLayer(r.forward), copyLayer(r.backward)})
	}
	return out
}

func TestFlippedBitOutbound(t *testing.T) {
	base := newChain(t, 3)
	sent := testPayload(1)
	for at := range BodySize {
		link := at % 3
		c := base.clone()
		cell, _ := c.seal(t, 2, sent)
		hop, payload, _ := c.outbound(cell, func(i int) {
			if i == link {
				cell.Body()[at] ^= 1 << (at % 8)
			}
		})
		if hop != -1 {
			t.Fatalf("byte %d changed on link %d: recognised by hop %d", at, link, hop)
		}
		requireNoise(t, payload, sent)
		cell, _ = c.seal(t, 2, sent)
		if hop, payload, _ = c.outbound(cell, nil); hop != -1 {
			t.Fatalf("byte %d changed on link %d: the next cell was recognised by hop %d", at, link, hop)
		}
		requireNoise(t, payload, sent)
	}
}

// TestFlippedBitInbound asks for less than the other direction: decryption is
// malleable, so that a change behind the last hop shows only in the tag.
func TestFlippedBitInbound(t *testing.T) {
	base := newChain(t, 3)
	sent := testPayload(1)
	for at := range BodySize {
		link := at % 3
		c := base.clone()
		cell, _ := c.inbound(t, 2, sent, func(cell *Cell, i int) {
			if i == link {
				cell.Body()[at] ^= 1 << (at % 8)
			}
		})
		if hop, _, _, err := c.client.Open(cell); !errors.Is(err, ErrUnrecognized) {
			t.Fatalf("byte %d changed on link %d: opened as from hop %d", at, link, hop)
		}
		cell, _ = c.inbound(t, 2, sent, nil)
		if _, _, _, err := c.client.Open(cell); !errors.Is(err, ErrUnrecognized) {
			t.Fatalf("byte %d changed on link %d: the next cell was opened", at, link)
		}
		requireNoise(t, cell.Payload(), sent)
	}
}

func TestOtherCommandIsNotRecognised(t *testing.T) {
	c := newChain(t, 2)
	cell, _ := c.seal(t, 1, testPayload(0))
	cell[offCommand] = byte(CmdPadding)
	if hop, _, _ := c.outbound(cell, nil); hop != -1 {
		t.Fatalf("recognised by hop %d", hop)
	}
}

func TestOrderOutbound(t *testing.T) {
	tests := map[string][]int{
		"repeated":  {0, 0},
		"swapped":   {1, 0},
		"left out":  {0, 2},
		"from past": {0, 1, 0},
	}
	for name, order := range tests {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, 3)
			var cells [3]Cell
			for i := range cells {
				cell, _ := c.seal(t, 2, testPayload(i))
				cells[i] = *cell
			}
			recognised := 0
			for _, i := range order {
				cell := cells[i]
				if hop, _, _ := c.outbound(&cell, nil); hop == -1 {
					break
				}
				recognised++
			}
			if recognised == len(order) {
				t.Fatal("all were recognised")
			}
		})
	}
}

func TestOrderInbound(t *testing.T) {
	for name, order := range map[string][]int{"repeated": {0, 0}, "swapped": {1, 0}, "left out": {0, 2}} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, 3)
			var cells [3]Cell
			for i := range cells {
				cell, _ := c.inbound(t, 2, testPayload(i), nil)
				cells[i] = *cell
			}
			var err error
			for _, i := range order {
				cell := cells[i]
				if _, _, _, err = c.client.Open(&cell); err != nil {
					break
				}
			}
			if !errors.Is(err, ErrUnrecognized) {
				t.Fatalf("got %v, want ErrUnrecognized", err)
			}
		})
	}
}

func TestSealRefuses(t *testing.T) {
	c := newChain(t, 2)
	cell := new(Cell)
	for _, hop := range []int{-1, 2} {
		if _, err := c.client.Seal(hop, cell, nil); !errors.Is(err, ErrHop) {
			t.Errorf("hop %d: got %v, want ErrHop", hop, err)
		}
	}
	long := make([]byte, PayloadSize+1)
	if _, err := c.client.Seal(1, cell, long); !errors.Is(err, ErrPayload) {
		t.Errorf("long payload: got %v, want ErrPayload", err)
	}
	if _, err := c.relays[0].Originate(cell, long); !errors.Is(err, ErrPayload) {
		t.Errorf("relay's long payload: got %v, want ErrPayload", err)
	}
	for range MaxHops - 2 {
		if err := c.client.AddHop(testKeys(9)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.client.AddHop(testKeys(9)); !errors.Is(err, ErrHop) {
		t.Errorf("hop over the limit: got %v, want ErrHop", err)
	}
}

func TestKeysAreHidden(t *testing.T) {
	k := testKeys(1)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, k); got != "[circuit keys]" {
			t.Errorf("%s shows %q", verb, got)
		}
	}
}
