package circuit

import "fmt"

// Purpose is what a circuit is used for (spec/circuit.md §5.4).
type Purpose uint8

// The purposes.
const (
	Send    Purpose = iota // putting messages and everything that a person waits for
	Receive                // standing subscriptions
	Bulk                   // files
)

// Lanes is how many lanes receiving is spread over.
const Lanes = 4

// String names the purpose in plain words.
func (p Purpose) String() string {
	switch p {
	case Send:
		return "sending"
	case Receive:
		return "receiving"
	case Bulk:
		return "files"
	}
	return fmt.Sprintf("purpose %d", uint8(p))
}

// Isolation names what may share a circuit: streams with equal values do,
// others never.
type Isolation struct {
	Purpose Purpose
	Persona uint32
	Lane    uint8 // 0 to Lanes-1, sets apart what has one purpose
}

// Option narrows the choice of OpenStream.
type Option func(*request)

// AvoidExitOf asks for a circuit whose exit does not conflict with the exits of
// the circuits that stand for the given isolations, so that two subscriptions
// of one mailbox are neither lost nor watched together.
func AvoidExitOf(isolations ...Isolation) Option {
	return func(r *request) { r.avoid = append(r.avoid, isolations...) }
}
