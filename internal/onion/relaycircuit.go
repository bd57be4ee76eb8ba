package onion

// RelayCircuit is one relay's layer of a circuit. Outbound may run beside
// Inbound and Originate; these two exclude each other.
type RelayCircuit struct {
	forward  *layer
	backward *layer
}

// NewRelayCircuit takes a hop's keys, and erases them.
func NewRelayCircuit(keys *Keys) *RelayCircuit {
	c := &RelayCircuit{forward: newLayer(&keys.forward), backward: newLayer(&keys.backward)}
	keys.Erase()
	return c
}

// Outbound applies the layer to a cell that came from the client's side. If
// the cell is for this relay, it returns true with the payload, aliasing the
// cell, and the tag to quote in a SENDME. Otherwise the cell is ready for the
// next hop; where there is none, the circuit is to be destroyed.
func (c *RelayCircuit) Outbound(cell *Cell) (recognised bool, payload []byte, tag Tag) {
	body := cell.Body()
	tag, ok := c.forward.relayOpen(byte(cell.Command()), body)
	if !ok {
		return false, nil, Tag{}
	}
	return true, body[TagSize:], tag
}

// Inbound applies the layer to a cell that passes toward the client.
func (c *RelayCircuit) Inbound(cell *Cell) {
	c.backward.relayEncrypt(byte(cell.Command()), cell.Body())
}

// Originate fills cell's body with payload, padded with zeros, for the client
// to recognise. The header must be set before: its command is bound to the
// body. payload may alias the cell's own (Payload). The tag is what the
// client's SENDME quotes for this cell (spec/onion.md §5.4).
func (c *RelayCircuit) Originate(cell *Cell, payload []byte) (Tag, error) {
	if err := setPayload(cell, payload); err != nil {
		return Tag{}, err
	}
	return c.backward.relayOriginate(byte(cell.Command()), cell.Body()), nil
}
