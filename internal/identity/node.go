// Package identity holds the names and keys of people and nodes: the seed and
// its 24-word phrase, personas and the account ID, blinding per period,
// certified period keys of devices, cards and the keys of a front door.
//
// It is pure: bytes in, bytes out, clock and randomness injected. It keeps
// nothing and sends nothing; how mailboxes use these keys is package mailbox's
// affair. It implements spec/identity.md.
package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// NodeIDSize is the size of a NodeID in bytes.
const NodeIDSize = 32

// ErrNodeID is returned for text that is no node ID.
var ErrNodeID = errors.New("identity: not a node ID")

// NodeID is a node's Ed25519 public identity key (spec/identity.md §4.1).
type NodeID [NodeIDSize]byte

// String returns the ID in hex.
func (n NodeID) String() string { return hex.EncodeToString(n[:]) }

// ParseNodeID reads the 64 hex digits that String writes.
func ParseNodeID(s string) (NodeID, error) {
	var n NodeID
	if len(s) != 2*NodeIDSize {
		return n, fmt.Errorf("%w: %d characters, want %d", ErrNodeID, len(s), 2*NodeIDSize)
	}
	if _, err := hex.Decode(n[:], []byte(s)); err != nil {
		return NodeID{}, fmt.Errorf("%w: not hexadecimal", ErrNodeID)
	}
	return n, nil
}
