package client

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
)

// sightKind is what a member sees happen to a mailbox.
type sightKind uint8

const (
	sawOpen   sightKind = iota // asked for by a client, here or at another member
	sawSub                     // a subscription stands
	sawEnd                     // it has ended
	sawPut                     // an envelope, from a client or another member
	sawDelete                  // likewise
	sawFetch
	sawPush
	sawKinds
)

func (k sightKind) String() string {
	return [...]string{"openings", "subscriptions", "ends", "puts", "deletes", "fetches", "pushes"}[k]
}

// sight is one thing that one member saw. stream is -1 for what came from
// another member.
type sight struct {
	At     int64 // milliseconds
	Node   uint16
	Kind   sightKind
	Box    int32
	Stream int32
}

// cellSight is what a guard sees of a message on a circuit.
type cellSight struct {
	At      int64
	Circuit int32
}

type circuitSight struct {
	Client int // for the guard, who sees its address
	Hops   [3]uint16
}

// streamSight is which circuit a stream came over, and to whom.
type streamSight struct {
	Circuit int32
	Node    uint16
}

// joinLog is everything that all nodes see. The joiner is given the part of two.
type joinLog struct {
	began time.Time
	nodes map[identity.NodeID]uint16
	seed  maphash.Seed

	mu       sync.Mutex // guards what follows
	boxes    map[mailbox.Address]int32
	locators []mailbox.Locator
	sights   []sight
	circuits []circuitSight
	streams  []streamSight
	subs     map[int32]int32 // streams with a subscription: the mailbox
	bursts   []cellSight
	first    map[uint64]int32   // windows of stored bytes: the first mailbox that has them
	twins    map[uint64][]int32 // those that several have: which
	// sizes counts the stored envelopes of each class.
	sizes  map[int32][4]int
	words  map[int32]*words
	last   map[int32]int // the class of the latest envelope
	quotes map[string]mailbox.WorkQuote
	buried map[suite.Signature]bool // deletions that members have told one another
	clock  func() time.Time         // the members'
	// mark, if set, is what a leaky client would leave in each of its subscriptions.
	mark func(client int) []byte
}

func newJoinLog(nodes []identity.NodeID, clock func() time.Time) *joinLog {
	l := &joinLog{
		began: time.Now(), nodes: map[identity.NodeID]uint16{}, seed: maphash.MakeSeed(),
		boxes: map[mailbox.Address]int32{}, subs: map[int32]int32{}, first: map[uint64]int32{}, twins: map[uint64][]int32{}, sizes: map[int32][4]int{},
		words: map[int32]*words{}, last: map[int32]int{}, quotes: map[string]mailbox.WorkQuote{}, buried: map[suite.Signature]bool{}, clock: clock,
	}
	for i, id := range nodes {
		l.nodes[id] = uint16(i)
	}
	return l
}

func (l *joinLog) now() int64 { return time.Since(l.began).Milliseconds() }

func (l *joinLog) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sights)
}

func (l *joinLog) circuit(client int, hops [3]identity.NodeID) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := circuitSight{Client: client}
	for i, h := range hops {
		c.Hops[i] = l.nodes[h]
	}
	l.circuits = append(l.circuits, c)
	return int32(len(l.circuits) - 1)
}

func (l *joinLog) stream(circuit int32, node identity.NodeID) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams = append(l.streams, streamSight{circuit, l.nodes[node]})
	return int32(len(l.streams) - 1)
}

// cells notes messages of an envelope's size, which are what stands out.
func (l *joinLog) cells(circuit int32, size int) {
	if size < 4096 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bursts = append(l.bursts, cellSight{l.now(), circuit})
}

// newDelete reports whether a deletion is one that no member was asked for yet.
func (l *joinLog) newDelete(r *mailbox.Delete) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.buried[r.Authorization.Signature]
	l.buried[r.Authorization.Signature] = true
	return !known
}

// ended notes that a stream is over at the member.
func (l *joinLog) ended(stream int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if box, ok := l.subs[stream]; ok {
		l.sights = append(l.sights, sight{l.now(), l.streams[stream].Node, sawEnd, box, stream})
		delete(l.subs, stream)
	}
}

func (l *joinLog) boxLocked(loc mailbox.Locator) int32 {
	a := loc.Address()
	if i, ok := l.boxes[a]; ok {
		return i
	}
	i := int32(len(l.locators))
	l.boxes[a] = i
	l.locators = append(l.locators, loc)
	l.windowsLocked(i, loc.Owner[:])
	l.windowsLocked(i, loc.Shared[:])
	return i
}

const (
	windowSize = 8
	// commonWindow is from how many mailboxes on bytes tell nothing.
	commonWindow = 128
)

// windowsLocked remembers each run of eight bytes.
func (l *joinLog) windowsLocked(box int32, b []byte) {
	for i := 0; i+windowSize <= len(b); i++ {
		h := maphash.Bytes(l.seed, b[i:i+windowSize])
		one, known := l.first[h]
		if !known {
			l.first[h] = box
			continue
		}
		list := l.twins[h]
		if one != box && len(list) < commonWindow && !slices.Contains(list, box) {
			l.twins[h] = append(list, box)
		}
	}
}

// saw is what fakeSwarm tells of a request, at each member that it reaches.
func (l *joinLog) saw(node identity.NodeID, stream *modelStream, kind sightKind, loc mailbox.Locator, size int, stored ...[]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	box := l.boxLocked(loc)
	s := sight{l.now(), l.nodes[node], kind, box, -1}
	if stream != nil {
		s.Stream = stream.id
		if kind == sawSub {
			l.subs[stream.id] = box
			if l.mark != nil {
				l.windowsLocked(box, l.mark(l.circuits[stream.c.id].Client))
			}
		}
	}
	l.sights = append(l.sights, s)
	if kind == sawPut {
		n := l.sizes[box]
		n[sizeClass(int(size))-1]++
		l.sizes[box] = n
	}
	for _, b := range stored {
		l.windowsLocked(box, b)
	}
}
