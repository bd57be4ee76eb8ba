package relay

import (
	"fmt"

	"sotto/internal/onion"
)

// early counts a circuit's RELAY_EARLY cells, and knows whether all cells of a
// message for this relay were such: an EXTEND counts only then, so that a
// circuit cannot grow beyond the length that the count allows
// (spec/circuit.md §4.2). It belongs to the goroutine that reads prev.
type early struct {
	cells int
	cell  bool // the cell at hand is RELAY_EARLY
	whole bool // and so were all of the unfinished message
}

// count counts a cell that came from the previous neighbour.
func (e *early) count(cmd onion.Command) error {
	if cmd != onion.CmdRelayEarly {
		return nil
	}
	if e.cells++; e.cells > onion.MaxEarly {
		return fmt.Errorf("%w: more than %d RELAY_EARLY", errProtocol, onion.MaxEarly)
	}
	return nil
}

// begin notes the command of a recognised cell; unfinished says whether it
// begins with the rest of a message.
func (e *early) begin(cmd onion.Command, unfinished bool) {
	e.cell = cmd == onion.CmdRelayEarly
	e.whole = e.cell && (e.whole || !unfinished)
}

// message reports whether all cells of the message that ends here were
// RELAY_EARLY. The next one begins in this cell.
func (e *early) message() bool {
	whole := e.whole
	e.whole = e.cell
	return whole
}
