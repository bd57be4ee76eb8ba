package circuit

import (
	"fmt"
	"net/netip"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
)

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	EventBuilt     EventKind = iota // a circuit is ready
	EventFailed                     // a circuit could not be built
	EventClosed                     // a circuit is gone
	EventRetired                    // a circuit takes nothing new; what stands on it moves
	EventGuard                      // another guard is in use
	EventVanguards                  // other nodes are the middles of receiving circuits
	EventDoubt                      // a guard fails more circuits than it should
	EventSuspect                    // a guard is not used any more for that
	EventOffline                    // no guard answers
	EventOnline                     // one does again
	EventTooSmall                   // the network has no path under the rules
	EventBusy                       // a node is busy, and is paid in work
)

// Event is something that a person may want to see. Text says it in plain
// words and names nodes by their operators only.
type Event struct {
	Kind EventKind
	Path uint64 // PathInfo.ID, or 0
	Text string
	At   time.Time
}

// eventQueue is how many events may wait for a slow receiver; then the newest
// are dropped, since Paths tells the state anyway.
const eventQueue = 64

// maxSaid bounds how many different lacks of the network are told.
const maxSaid = 16

// emit queues an event. It never blocks.
func (m *Manager) emit(kind EventKind, path uint64, format string, args ...any) {
	e := Event{Kind: kind, Path: path, Text: fmt.Sprintf(format, args...), At: m.cfg.Now()}
	select {
	case m.events <- e:
	default:
	}
}

// eventLoop delivers events in order until the Manager is closed.
func (m *Manager) eventLoop() {
	for {
		select {
		case e := <-m.events:
			m.cfg.OnEvent(e)
		case <-m.ctx.Done():
			return
		}
	}
}

// PathState is where a circuit is in its life.
type PathState string

// The states of a path.
const (
	PathBuilding PathState = "building" // hops are being added
	PathReady    PathState = "ready"    // built, and not used for anything yet
	PathInUse    PathState = "in use"   // belongs to one isolation
	PathRetiring PathState = "retiring" // takes no new streams; ends with the last
)

// Hop is a node of a path, as it is shown.
type Hop struct {
	ID       identity.NodeID
	Operator string
	Addr     netip.AddrPort
}

// PathInfo describes a circuit for a view of paths.
type PathInfo struct {
	ID                  uint64
	Guard, Middle, Exit Hop
	State               PathState
	Isolation           Isolation // of a path in use
	BuiltAt             time.Time
	RTT                 time.Duration // to the exit and back, as last measured
	Streams             int
}

func hopOf(n directory.Node) Hop { return Hop{n.ID, n.Operator, n.Addr} }
