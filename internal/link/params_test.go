package link

import (
	"testing"

	"sotto/internal/onion"
)

// QUIC's windows never bind before a circuit's own (spec/link.md §2): not the
// stream's for one circuit, whatever no window holds back included, nor the
// connection's for as many circuits as a client keeps busy.
func TestQUICWindowsHoldCircuits(t *testing.T) {
	const (
		largest = onion.MaxWindow * onion.CellSize // of one direction of a circuit
		// What no window holds back in a round trip: the SENDMEs of the circuit
		// and of streams for a full window of the other direction, and BEGIN and
		// END of all streams, each in a cell of its own.
		free = (onion.MaxWindow/onion.CircuitStep +
			onion.MaxWindow*onion.MaxData/onion.StreamStep +
			2*onion.MaxStreams) * onion.CellSize
		busy = 10 // circuits that a client fills at once
	)
	if streamWindow < largest+free {
		t.Errorf("a stream holds %d bytes, a circuit sends up to %d", streamWindow, largest+free)
	}
	if connWindowStart < 2*streamWindow {
		t.Errorf("a new connection holds %d bytes, two streams %d", connWindowStart, 2*streamWindow)
	}
	if connWindow < busy*largest {
		t.Errorf("a connection holds %d bytes, %d circuits send up to %d", connWindow, busy, busy*largest)
	}
}
