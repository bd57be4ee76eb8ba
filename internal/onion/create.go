package onion

import (
	"errors"
	"fmt"
)

const (
	// HandshakeSize is the size of the bytes in CREATE and CREATED. Both have
	// the same, so that direction does not show in it; it is as large as lets
	// EXTEND and EXTENDED still fit two relay cells (spec/onion.md §3).
	HandshakeSize = 2192
	// createParts is how many cells carry a handshake, always.
	createParts = 2
)

// ErrCreate is returned for parts that do not make a handshake together.
var ErrCreate = errors.New("onion: CREATE or CREATED cells do not fit together")

// SplitCreate lays a handshake of HandshakeSize bytes out in its two cells.
// cmd is CmdCreate or CmdCreated (spec/onion.md §4.2).
func SplitCreate(handshake []byte, circID uint32, cmd Command) ([createParts]Cell, error) {
	var cells [createParts]Cell
	if len(handshake) != HandshakeSize {
		return cells, fmt.Errorf("%w: %d bytes, want %d", ErrCreate, len(handshake), HandshakeSize)
	}
	if cmd != CmdCreate && cmd != CmdCreated {
		return cells, fmt.Errorf("%w: %v", ErrCommand, cmd)
	}
	for i := range cells {
		cells[i].SetHeader(circID, cmd)
		cells[i][offPart] = byte(i)
		handshake = handshake[copy(cells[i].Body(), handshake):]
	}
	return cells, nil
}

// JoinCreate takes a handshake out of its two cells, in their order, which
// must both be cmd. The caller holds at most one first part per circuit.
func JoinCreate(first, second *Cell, cmd Command) ([]byte, error) {
	out := make([]byte, 0, createParts*BodySize)
	for i, c := range []*Cell{first, second} {
		if err := CheckHeader(c); err != nil {
			return nil, err
		}
		if c.Command() != cmd || (cmd != CmdCreate && cmd != CmdCreated) {
			return nil, fmt.Errorf("%w: %v", ErrCommand, c.Command())
		}
		if int(c[offPart]) != i {
			return nil, fmt.Errorf("%w: part %d where %d is due", ErrCreate, c[offPart], i)
		}
		out = append(out, c.Body()...)
	}
	if first.CircID() != second.CircID() {
		return nil, fmt.Errorf("%w: two circuits", ErrCreate)
	}
	for _, b := range out[HandshakeSize:] {
		if b != 0 {
			return nil, fmt.Errorf("%w after the handshake", ErrReserved)
		}
	}
	return out[:HandshakeSize:HandshakeSize], nil
}
