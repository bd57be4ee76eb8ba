package onion

import "fmt"

// Reason says why a stream or a circuit ended. It is advice for people and
// counters: whatever it says, the stream or circuit is over.
type Reason uint8

// The reasons in END, TRUNCATED and DESTROY (spec/onion.md §4.6).
const (
	ReasonDone        Reason = 0  // finished in order; in END: no more data this way
	ReasonProtocol    Reason = 1  // the peer broke the protocol
	ReasonInternal    Reason = 2  // the sender failed
	ReasonLimit       Reason = 3  // the sender's limits are reached
	ReasonUnknownNode Reason = 4  // no such node in the directory
	ReasonUnreachable Reason = 5  // the next node could not be reached
	ReasonLinkLost    Reason = 6  // the link to the neighbour broke
	ReasonTimeout     Reason = 7  // the next node did not answer in time
	ReasonRefused     Reason = 8  // the sender does not do this for clients
	ReasonVersion     Reason = 9  // a version that the sender does not speak
	ReasonShutdown    Reason = 10 // the sender is going down
	ReasonBusy        Reason = 11 // more circuits are asked for than the sender can make
)

var reasonText = [...]string{
	ReasonDone:        "finished",
	ReasonProtocol:    "protocol broken",
	ReasonInternal:    "internal failure",
	ReasonLimit:       "limit reached",
	ReasonUnknownNode: "node not in the directory",
	ReasonUnreachable: "next node unreachable",
	ReasonLinkLost:    "link lost",
	ReasonTimeout:     "next node did not answer",
	ReasonRefused:     "refused",
	ReasonVersion:     "unknown version",
	ReasonShutdown:    "node going down",
	ReasonBusy:        "busy",
}

// Known returns r, or ReasonProtocol for a code that this version does not have.
// A relay passes no other code on: one that nobody else uses would mark a
// circuit for whoever looks for it further on (spec/onion.md §7).
func (r Reason) Known() Reason {
	if int(r) < len(reasonText) {
		return r
	}
	return ReasonProtocol
}

// String says the reason in plain words.
func (r Reason) String() string {
	if int(r) < len(reasonText) {
		return reasonText[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}
