package onion

import (
	"errors"
	"fmt"
)

// MaxHops bounds a circuit. Three is the rule; the others leave room for a
// rendezvous and for a relay that is only probed.
const MaxHops = 5

var (
	// ErrUnrecognized is returned for a cell that no hop of the circuit made,
	// or that something between changed, repeated, dropped or reordered. The
	// circuit cannot go on: destroy it.
	ErrUnrecognized = errors.New("onion: cell from no hop of this circuit")
	// ErrHop is returned for a hop that the circuit does not have.
	ErrHop = errors.New("onion: no such hop")
	// ErrPayload is returned for a payload longer than PayloadSize.
	ErrPayload = errors.New("onion: payload too long for a cell")
)

// ClientCircuit is the client's end: the layers of all hops. Seal may run
// beside Open; two Seals, two Opens, or AddHop beside either may not.
type ClientCircuit struct {
	forward  []*layer
	backward []*layer
}

// AddHop adds the layers of the next hop, and erases keys.
func (c *ClientCircuit) AddHop(keys *Keys) error {
	if len(c.forward) == MaxHops {
		return fmt.Errorf("%w: a circuit has at most %d", ErrHop, MaxHops)
	}
	c.forward = append(c.forward, newLayer(&keys.forward))
	c.backward = append(c.backward, newLayer(&keys.backward))
	keys.Erase()
	return nil
}

// Hops returns how many hops the circuit has.
func (c *ClientCircuit) Hops() int { return len(c.forward) }

// Seal fills cell's body with payload, padded with zeros, for hop (0 is the
// guard) to recognise. The header must be set before: its command is bound to
// the body. payload may alias the cell's own (Payload). The tag is what the
// hop's SENDME quotes for this cell (spec/onion.md §5.4).
func (c *ClientCircuit) Seal(hop int, cell *Cell, payload []byte) (Tag, error) {
	if hop < 0 || hop >= len(c.forward) {
		return Tag{}, ErrHop
	}
	if err := setPayload(cell, payload); err != nil {
		return Tag{}, err
	}
	return c.sealBody(hop, byte(cell.Command()), cell.Body()), nil
}

// sealBody is Seal for a body of any length, its tag yet to be written.
func (c *ClientCircuit) sealBody(hop int, ad byte, body []byte) Tag {
	tag := c.forward[hop].clientOriginate(ad, body)
	for i := hop - 1; i >= 0; i-- {
		c.forward[i].clientDecrypt(ad, body)
	}
	return tag
}

// Open takes the layers off a cell that came from the guard. It returns the
// hop that made it, its payload, aliasing the cell, and the tag to quote in a
// SENDME; or ErrUnrecognized, after which nothing more can be opened.
func (c *ClientCircuit) Open(cell *Cell) (hop int, payload []byte, tag Tag, err error) {
	ad, body := byte(cell.Command()), cell.Body()
	for i, l := range c.backward {
		if tag, ok := l.clientOpen(ad, body); ok {
			return i, body[TagSize:], tag, nil
		}
	}
	return 0, nil, Tag{}, ErrUnrecognized
}

// Payload returns the part of the cell that Seal and Originate fill, for
// laying a payload out in place.
func (c *Cell) Payload() []byte { return c[HeaderSize+TagSize:] }

func setPayload(cell *Cell, payload []byte) error {
	if len(payload) > PayloadSize {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrPayload, len(payload), PayloadSize)
	}
	dst := cell.Payload()
	clear(dst[copy(dst, payload):])
	return nil
}
