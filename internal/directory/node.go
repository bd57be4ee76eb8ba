package directory

import (
	"errors"
	"fmt"
	"net/netip"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// SwarmID names a swarm within one directory.
type SwarmID uint16

// Node is what the directory says of one node (spec/directory.md §4.1).
type Node struct {
	ID       identity.NodeID
	Operator string         // who runs it: lower-case letters, digits, '.' and '-'
	Addr     netip.AddrPort // where it listens, UDP
	OnionKey suite.DHPublic // for circuit handshakes
	Swarm    SwarmID        // the swarm that it belongs to
}

// The prefixes that stand for one network: whoever controls a hosting
// provider's block or a site's allocation must not hold two ends of a path.
const (
	conflictBits4 = 16
	conflictBits6 = 32
)

// Conflict reports whether a and b may not stand on one path: they are the
// same node, or share an operator, an IPv4 /16 or an IPv6 /32
// (spec/directory.md §5.4).
func Conflict(a, b Node) bool {
	return a.ID == b.ID || a.Operator == b.Operator || network(a.Addr.Addr()) == network(b.Addr.Addr())
}

// network returns the prefix of addr that Conflict compares. An IPv4 address
// written as IPv6 counts as IPv4, though no directory holds one (check).
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := conflictBits6
	if addr.Is4() {
		bits = conflictBits4
	}
	p, _ := addr.Prefix(bits) // fails only for bits beyond the address's size
	return p
}

var errZeroField = errors.New("is all zero")

// check refuses a node whose fields break spec/directory.md §4.1.
func (n *Node) check() error {
	if n.ID == (identity.NodeID{}) {
		return fmt.Errorf("id %w", errZeroField)
	}
	if n.OnionKey == (suite.DHPublic{}) {
		return fmt.Errorf("onion key %w", errZeroField)
	}
	if err := checkOperator(n.Operator); err != nil {
		return err
	}
	return checkAddr(n.Addr)
}

// checkOperator allows one spelling only, so that equal operators have equal
// bytes.
func checkOperator(s string) error {
	if len(s) == 0 || len(s) > MaxOperator {
		return fmt.Errorf("operator of %d bytes, want 1 to %d", len(s), MaxOperator)
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-') {
			return fmt.Errorf("operator %q has a character other than a-z, 0-9, '.' and '-'", s)
		}
	}
	return nil
}

func checkAddr(ap netip.AddrPort) error {
	a := ap.Addr()
	switch {
	case !ap.IsValid():
		return errors.New("address is missing or malformed")
	case ap.Port() == 0:
		return fmt.Errorf("address %v has port 0", ap)
	case a.Is4In6():
		return fmt.Errorf("address %v is IPv4 written as IPv6", ap)
	case a.Zone() != "":
		return fmt.Errorf("address %v has a zone", ap)
	case a.IsUnspecified() || a.IsMulticast():
		return fmt.Errorf("address %v is not one host's", ap)
	}
	return nil
}
