package circuit

import (
	"errors"
	"fmt"
	"net"

	"sotto/internal/link"
	"sotto/internal/onion"
)

var (
	// ErrClosed is returned by a closed Manager and a closed Stream.
	ErrClosed = errors.New("circuit: closed")
	// ErrNoCircuit is wrapped when no circuit could be had in time; the text
	// says why the last attempt failed.
	ErrNoCircuit = errors.New("circuit: no circuit")
	// ErrUnknownTarget is returned for a target that the directory lacks.
	ErrUnknownTarget = errors.New("circuit: target is not in the directory")
	// ErrLimit is returned when all circuits that are allowed are in use.
	ErrLimit = errors.New("circuit: too many circuits in use")
	// ErrDead is wrapped by every DeadError.
	ErrDead = errors.New("circuit: circuit died")
	// ErrGuardState is wrapped when the stored guards cannot be read or written.
	ErrGuardState = errors.New("circuit: stored guards")

	errProtocol = errors.New("a relay broke the protocol")
	errGarbled  = errors.New("a relay altered a cell")
	errProbe    = errors.New("the exit did not answer a probe")
	errLinkLost = errors.New("the connection to the guard was lost")
	errNewPath  = errors.New("new paths were asked for")
	errAge      = errors.New("replaced because of its age")
	errSlow     = errors.New("slower than twice the usual")
	errSurplus  = errors.New("not needed any more")
	errUnlisted = errors.New("a relay has left the network")
)

// DeadError says that the circuit under a stream died, and with it all its
// streams. What was written may or may not have arrived; the caller tries again
// on another circuit. It wraps ErrDead and the cause.
type DeadError struct {
	Path uint64 // PathInfo.ID
	Err  error  // in plain words
}

// Error implements error.
func (e *DeadError) Error() string { return fmt.Sprintf("%v: %v", ErrDead, e.Err) }

// Unwrap implements the errors package's convention.
func (e *DeadError) Unwrap() []error { return []error{ErrDead, e.Err} }

// StreamError says that the exit ended one stream, and why; the circuit lives.
type StreamError struct{ Reason onion.Reason }

// Error implements error.
func (e *StreamError) Error() string {
	return fmt.Sprintf("circuit: exit ended the stream: %v", e.Reason)
}

// ReasonError says that a relay ended the circuit, and why as it says.
type ReasonError struct{ Reason onion.Reason }

// Error implements error.
func (e *ReasonError) Error() string { return fmt.Sprintf("a relay ended it: %v", e.Reason) }

// othersFault reports whether a circuit that ended for err was ended by its
// relays, and not by us: whatever is not a decision of ours is theirs, however
// they put it.
func othersFault(err error) bool {
	for _, ours := range []error{ErrClosed, errNewPath, errAge, errSlow, errSurplus, errLeaving, errUnlisted} {
		if errors.Is(err, ours) {
			return false
		}
	}
	return true
}

// ownFault reports whether err says that our own socket could not send, which
// is no guard's fault.
func ownFault(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// channelError turns an error of the channel into one in plain words. lost
// reports whether the whole link is gone, and not this circuit alone.
func channelError(l liver, err error) (lost bool, _ error) {
	select {
	case <-l.Done():
		return true, errLinkLost
	default:
	}
	var reset *link.ResetError
	if errors.As(err, &reset) && reset.Remote {
		return false, &ReasonError{onion.Reason(reset.Code)}
	}
	return false, err
}
