package directory

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Version is the only version of the document's layout and the network file.
const Version = 1

// Bounds of a document (spec/directory.md §3).
const (
	// MaxNodes bounds what a client must parse and keep: about 600 KiB.
	MaxNodes = 4096
	// MaxSwarm is the largest swarm: replicas beyond seven cost puts and buy
	// nothing.
	MaxSwarm = 7
	// MaxOperator and MaxName bound the two names, for display.
	MaxOperator = 64
	MaxName     = 64
	// maxCreated (year 9999) keeps times printable and sums free of overflow.
	maxCreated = 253402300799
	// maxSerial is the greatest integer that every JSON reader holds exactly.
	maxSerial = 1<<53 - 1
)

var (
	// ErrSignature is returned when the document is not signed by its key.
	ErrSignature = errors.New("directory: signature does not verify")
	// ErrVersion is returned for a version that this program does not know.
	ErrVersion = errors.New("directory: unknown version")
	// ErrInvalid is wrapped by every refusal of a document's content.
	ErrInvalid = errors.New("directory: invalid document")
)

// Document is what the network's key signs: one state of the network
// (spec/directory.md §4.1). The first is the genesis, with serial 0.
type Document struct {
	Name    string
	Created time.Time // of the genesis; whole seconds, UTC
	Serial  uint64    // counts the network's documents from 0
	Issued  time.Time // of this document; the genesis's is Created
	Nodes   []Node    // SignDocument sorts them by ID
}

const (
	family4 = 4
	family6 = 6
)

// Encode returns the canonical bytes that the network's key signs.
func (g *Document) Encode() ([]byte, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	b := []byte{Version}
	b = wire.AppendVec8(b, []byte(g.Name))
	b = wire.AppendUint64(b, uint64(g.Created.Unix()))
	b = wire.AppendUint64(b, g.Serial)
	b = wire.AppendUint64(b, uint64(g.Issued.Unix()))
	b = wire.AppendUint16(b, uint16(len(g.Nodes)))
	for i := range g.Nodes {
		b = g.Nodes[i].append(b)
	}
	return b, nil
}

func (n *Node) append(b []byte) []byte {
	b = append(b, n.ID[:]...)
	b = wire.AppendVec8(b, []byte(n.Operator))
	family := byte(family6)
	if n.Addr.Addr().Is4() {
		family = family4
	}
	b = append(b, family)
	b = append(b, n.Addr.Addr().AsSlice()...)
	b = wire.AppendUint16(b, n.Addr.Port())
	b = append(b, n.OnionKey[:]...)
	return wire.AppendUint16(b, uint16(n.Swarm))
}

// ParseDocument parses canonical bytes. It checks everything but the signature.
func ParseDocument(b []byte) (*Document, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != Version {
		return nil, fmt.Errorf("%w %d", ErrVersion, v)
	}
	g := &Document{Name: string(r.Vec8(MaxName))}
	created := r.Uint64()
	g.Serial = r.Uint64()
	issued := r.Uint64()
	count := int(r.Uint16())
	if created > maxCreated || issued > maxCreated || count > MaxNodes {
		return nil, fmt.Errorf("%w: created at %d, issued at %d, with %d nodes", ErrInvalid, created, issued, count)
	}
	g.Created = time.Unix(int64(created), 0).UTC()
	g.Issued = time.Unix(int64(issued), 0).UTC()
	for i := 0; i < count && r.Err() == nil; i++ {
		n, err := readNode(r)
		if err != nil {
			return nil, fmt.Errorf("%w: node %d: %w", ErrInvalid, i, err)
		}
		g.Nodes = append(g.Nodes, n)
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return g, g.check()
}

func readNode(r *wire.Reader) (Node, error) {
	var n Node
	r.Fixed(n.ID[:])
	n.Operator = string(r.Vec8(MaxOperator))
	var addr netip.Addr
	switch family := r.Uint8(); {
	case r.Err() != nil:
		return n, r.Err()
	case family == family4:
		addr, _ = netip.AddrFromSlice(r.Bytes(4))
	case family == family6:
		addr, _ = netip.AddrFromSlice(r.Bytes(16))
	default:
		return n, fmt.Errorf("address family %d", family)
	}
	n.Addr = netip.AddrPortFrom(addr, r.Uint16())
	r.Fixed(n.OnionKey[:])
	n.Swarm = SwarmID(r.Uint16())
	return n, r.Err()
}

// check holds the rules of spec/directory.md §4.1.
func (g *Document) check() error {
	if err := checkName(g.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if s := g.Created.Unix(); s < 0 || s > maxCreated {
		return fmt.Errorf("%w: created outside the years 1970 to 9999", ErrInvalid)
	}
	if err := g.checkSerial(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(g.Nodes) == 0 || len(g.Nodes) > MaxNodes {
		return fmt.Errorf("%w: %d nodes, want 1 to %d", ErrInvalid, len(g.Nodes), MaxNodes)
	}
	if err := checkNodes(g.Nodes); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// checkSerial checks the document's place among those of its network.
func (g *Document) checkSerial() error {
	switch s := g.Issued.Unix(); {
	case g.Serial > maxSerial:
		return fmt.Errorf("serial %d, at most %d", g.Serial, uint64(maxSerial))
	case s < g.Created.Unix() || s > maxCreated:
		return errors.New("issued before the network was created, or after the year 9999")
	case g.Serial == 0 && s != g.Created.Unix():
		return errors.New("a genesis that was not issued when it was created")
	}
	return nil
}

func checkName(s string) error {
	if len(s) == 0 || len(s) > MaxName {
		return fmt.Errorf("name of %d bytes, want 1 to %d", len(s), MaxName)
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return errors.New("name has a character that is not printable ASCII")
		}
	}
	return nil
}

// checkNodes checks each node, and that they are in order and distinct.
func checkNodes(nodes []Node) error {
	addrs := make(map[netip.AddrPort]bool, len(nodes))
	keys := make(map[suite.DHPublic]bool, len(nodes))
	sizes := make(map[SwarmID]int)
	for i := range nodes {
		n := &nodes[i]
		if err := n.check(); err != nil {
			return fmt.Errorf("node %v: %w", n.ID, err)
		}
		if i > 0 && compareNodes(nodes[i-1], *n) >= 0 {
			return fmt.Errorf("node %v: listed twice or not in ascending order of ID", n.ID)
		}
		if addrs[n.Addr] {
			return fmt.Errorf("node %v: address %v belongs to another node already", n.ID, n.Addr)
		}
		if keys[n.OnionKey] {
			return fmt.Errorf("node %v: onion key belongs to another node already", n.ID)
		}
		addrs[n.Addr], keys[n.OnionKey] = true, true
		if sizes[n.Swarm]++; sizes[n.Swarm] > MaxSwarm {
			return fmt.Errorf("swarm %d has more than %d members", n.Swarm, MaxSwarm)
		}
	}
	return nil
}

func compareNodes(a, b Node) int { return bytes.Compare(a.ID[:], b.ID[:]) }

// SignDocument sorts a copy of the nodes, checks everything, and returns the
// network signed with key. A genesis is issued when it is created.
func SignDocument(key suite.Signer, g Document) (*Network, error) {
	g.Nodes = slices.Clone(g.Nodes)
	slices.SortFunc(g.Nodes, compareNodes)
	g.Created = g.Created.UTC().Truncate(time.Second)
	if g.Serial == 0 {
		g.Issued = g.Created
	}
	g.Issued = g.Issued.UTC().Truncate(time.Second)
	b, err := g.Encode()
	if err != nil {
		return nil, err
	}
	return &Network{Document: g, Key: key.Public(), Signature: key.Sign(labelDocument, b)}, nil
}
