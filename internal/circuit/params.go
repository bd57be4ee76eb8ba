package circuit

import (
	"time"

	"sotto/internal/onion"
)

// Circuits (spec/circuit.md §5.1).
const (
	// hops is the length of every path: guard, middle, exit.
	hops = 3
	// exitHop is the hop that streams leave from.
	exitHop = hops - 1
	// DefaultIdle is how many unused circuits are kept ready, so that nothing
	// waits for one: through the guard in use one for sending and one for
	// receiving, and one for sending through the hot spare.
	DefaultIdle = 3
	// maxIdle bounds Config.Idle: each idle circuit costs the relays memory.
	maxIdle = 8
	// maxCircuits bounds all circuits, well below what a guard allows a client.
	maxCircuits = 40
	// maxBuilds bounds the circuits being built at a time.
	maxBuilds = 6
	// buildTimeout bounds one build: three handshakes over six crossings of the
	// path, with room for a relay that has to dial the next.
	buildTimeout = 10 * time.Second
	// hedgeAfter is when a caller that waits for a circuit gets a second build,
	// over another guard.
	hedgeAfter = 1500 * time.Millisecond
	// openTimeout bounds OpenStream for callers whose context has no deadline.
	openTimeout = 30 * time.Second
	// freeFailures is how many builds may fail in a row before a pause.
	freeFailures = 3
	// retryMin and retryMax bound that pause, which doubles.
	retryMin = 250 * time.Millisecond
	retryMax = 4 * time.Second
	// saveEvery is how often counts alone are stored: a crash may lose these.
	saveEvery = 10 * time.Minute
	// housekeeping is the longest time between two looks at ages.
	housekeeping = 15 * time.Second
)

// Ages (spec/circuit.md §5.4).
const (
	// ageShare shortens each life by up to one in so many at random: circuits
	// that were made together must not end together, which would join them.
	ageShare = 4
	// maxAge is at most how long after its first use a circuit for sending or bulk
	// takes new streams: longer would let an exit join more of what one does.
	maxAge = 10 * time.Minute
	// maxReceiveAge is the same for receiving, whose streams stand for long.
	maxReceiveAge = 4 * time.Hour
	// maxIdleAge replaces an unused circuit, so that its path does not outlive
	// what the directory and the relays were when it was built.
	maxIdleAge = 30 * time.Minute
	// unusedAge closes a circuit in use whose last stream ended long ago.
	unusedAge = 10 * time.Minute
)

// Nodes that failed (spec/circuit.md §5.2).
const (
	// avoidFor is how long a middle or exit that could not be reached is left
	// out. It is short because the hop before it is the only witness.
	avoidFor = 30 * time.Second
	// maxAvoid bounds how many nodes a guard can make us leave out by saying
	// that it cannot reach them; a quarter of the directory bounds it, too.
	maxAvoid = 8
)

// Streams (spec/circuit.md §2, §5.5).
const (
	// MaxStreams is how many streams of one circuit are open at once.
	MaxStreams = onion.MaxStreams
	// maxOut is what a stream holds that has not left in cells: enough to fill
	// a batch of cells many times over.
	maxOut = 128 << 10
	// maxUses is how many streams a circuit carries before it retires: one who
	// asks much does not show all of it to one exit.
	maxUses = 1000
	// endReset is the reason of an END that gives up both directions. It is
	// the same whatever happened.
	endReset = onion.ReasonRefused
)

// Probes (spec/circuit.md §5.6).
const (
	// probeAfter is how long a reader waits in silence before a probe, and
	// between two probes.
	probeAfter = time.Second
	// probeTimeout is how long the exit has to answer.
	probeTimeout = 3 * time.Second
	// keepMin and keepMax bound the pause between the probes that each circuit
	// gets, well below the time after which relays end an idle one.
	keepMin = 60 * time.Second
	keepMax = 120 * time.Second
)
