package link

import "time"

// The protocols of a connection, chosen by TLS ALPN. The number is the version
// of the link's hello; an endpoint that speaks none of the other's is refused
// by TLS (spec/link.md §3).
const (
	ProtocolCells   = "sotto-link/1"
	ProtocolService = "sotto-swarm/1"
)

const (
	// keepAlive is how often the side that dialled sends a packet, so that
	// silence means death and not idleness.
	keepAlive = time.Second
	// maxIdle is how long a neighbour may be silent after a packet that asks for
	// an answer: with the keep-alive, death is noticed within 3 s of the last
	// packet. A lost keep-alive is sent again several times meanwhile.
	maxIdle = 2 * time.Second
	// handshakeIdle is how long a dialled address may be silent; twice this
	// bounds the whole handshake.
	handshakeIdle = 2 * time.Second
	// dialTimeout bounds one attempt, whoever waits for it.
	dialTimeout = 2 * handshakeIdle
)

const (
	// maxStreams is how many streams a neighbour may have open at once. A link
	// between two nodes carries the circuits of all clients that chose that
	// pair; a service connection their streams to one swarm node. Package relay
	// allows a client less.
	maxStreams = 8192
	// streamWindow is what one stream may have in flight. A circuit's own
	// window (spec/circuit.md §2) is at most 1.18 MB of cells, and what no
	// window holds back is little, so this never binds first.
	streamWindow = 2 << 20
	// connWindowStart is what a new connection may have in flight: two circuits
	// at their largest, before QUIC sees that more is used.
	connWindowStart = 4 << 20
	// connWindow is the most that a connection's window grows to. It bounds
	// what a neighbour can make an endpoint hold out of order.
	connWindow = 16 << 20
	// ServiceWindow is what one stream of a service connection may have in flight
	// toward the side that dialled, which reads it only as fast as the client
	// behind it does. An exit counts it for each stream that waits for its
	// client (spec/circuit.md §4.7).
	ServiceWindow = 256 << 10
	// serviceConnWindow is the same for the connection: what all its streams may
	// have in flight together, so that those of clients who do not read never
	// stop the others'.
	serviceConnWindow = maxStreams * ServiceWindow
	// tailTimeout is how long a tail and the end of its stream may come apart,
	// which leave together: a loss and its repetition.
	tailTimeout = 5 * time.Second
	// connIDLength makes collisions among a node's connections negligible.
	connIDLength = 8
)

const (
	// backoffMin is the pause after the first failed attempt to reach a node.
	backoffMin = 200 * time.Millisecond
	// backoffMax is the longest pause: a node that returns is found within it.
	backoffMax = 5 * time.Second
	// acceptQueue is how many established connections may wait to be accepted,
	// per protocol; the next one is closed.
	acceptQueue = 256
	// verifyAbove is how many handshakes may be unfinished before new ones must
	// prove their address by a Retry: below it a round trip is saved, above it
	// spoofed addresses cost nothing.
	verifyAbove = 256
)

// ticketLife is how long a session ticket may be used, once. It covers a link
// that was lost and is dialled again; for longer, a guard has no business to
// know a client by it.
const ticketLife = 10 * time.Minute

const (
	// initialPacketSize is the size of packets before a larger one has been
	// acknowledged: what every path carries, IPv6's least MTU without its and
	// UDP's headers. A whole cell fits, with up to 60 bytes of QUIC around it.
	initialPacketSize = 1280 - 40 - 8
	// watchEvery is how often an endpoint looks whether its connections are
	// still on the right path. It costs a system call each.
	watchEvery = 500 * time.Millisecond
	// blackHoleTicks is for how many such looks large packets must have gone
	// unanswered: time enough for their loss and repetition, and a third of
	// maxIdle.
	blackHoleTicks = 2
	// maxMoves bounds the sockets that one connection holds: quic-go keeps it
	// on each until it ends. A connection that was moved so often is made anew.
	maxMoves = 16
)

// Codes of CONNECTION_CLOSE (spec/link.md §6).
const (
	closeNormal  = 0x0
	closeBusy    = 0x1
	closeRefused = 0x2
)

// codeContinued, of RESET_STREAM and STOP_SENDING on a service stream, says that
// the stream goes on as a tail (spec/link.md §4.3).
const codeContinued = 0x1
