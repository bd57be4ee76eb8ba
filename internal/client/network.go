package client

import (
	"context"
	"io"

	"sotto/internal/circuit"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/padding"
)

// Network is how the client reaches members of swarms. The real one runs over
// circuits; tests have one in memory.
type Network interface {
	// OpenStream opens a stream to a node. Streams of different isolations
	// share no circuit; if possible, the exit is none of avoid's.
	OpenStream(ctx context.Context, iso circuit.Isolation, avoid []circuit.Isolation, node identity.NodeID) (Stream, error)
	// Paths returns the circuits, and NewPath drops them.
	Paths() []Path
	NewPath()
	// SetCover sets the level of cover traffic, and Chatting says that a
	// conversation is in use at this moment.
	SetCover(padding.Level)
	Chatting()
	// Close ends everything and waits for it.
	Close() error
}

// Stream is a stream of a Network.
type Stream interface {
	io.ReadWriteCloser
	// Retiring is closed when the stream's circuit takes nothing new: what is to
	// stand for long is opened anew on another, and closed here after.
	Retiring() <-chan struct{}
}

// NetworkConfig is what a Network is made of.
type NetworkConfig struct {
	Directory directory.Source
	Guards    circuit.GuardStore
	// Notify is told in plain words when a path changed.
	Notify func(text string)
	// Unreached is told in plain words that no entry node answers, and nothing
	// ("") once one does again.
	Unreached func(text string)
}

// The uses that a client has for streams.
func sendUse(persona uint32) circuit.Isolation {
	return circuit.Isolation{Purpose: circuit.Send, Persona: persona}
}

// askUse is for questions that name no mailbox: an exit sees them beside none.
func askUse(persona uint32) circuit.Isolation {
	return circuit.Isolation{Purpose: circuit.Send, Persona: persona, Lane: 1}
}

func receiveUse(persona uint32, lane uint8) circuit.Isolation {
	return circuit.Isolation{Purpose: circuit.Receive, Persona: persona, Lane: lane % circuit.Lanes}
}

// isolation is circuit's, by a shorter name.
type isolation = circuit.Isolation
