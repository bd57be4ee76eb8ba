package directory

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// MaxCard bounds a node's card: an entry of a network file, with room.
const MaxCard = 4 << 10

// cardJSON is the form of a card (spec/directory.md §4.5).
type cardJSON struct {
	Version   int    `json:"version"`
	ID        string `json:"id"`
	Operator  string `json:"operator"`
	Address   string `json:"address"`
	OnionKey  string `json:"onion_key"`
	Signature string `json:"signature"`
}

// EncodeCard returns the card with which a node asks to be listed. The node
// itself signs it, so that nobody is listed under keys that are not theirs.
func EncodeCard(key suite.Signer, n Node) ([]byte, error) {
	n.ID, n.Swarm = identity.NodeID(key.Public()), 0
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	sig := key.Sign(labelCard, n.append([]byte{Version}))
	b, err := json.MarshalIndent(cardJSON{
		Version: Version, ID: n.ID.String(), Operator: n.Operator, Address: n.Addr.String(),
		OnionKey: hex.EncodeToString(n.OnionKey[:]), Signature: hex.EncodeToString(sig[:]),
	}, "", "  ")
	return append(b, '\n'), err
}

// ParseCard reads what EncodeCard writes and verifies it. The errors wrap
// ErrVersion, ErrInvalid or ErrSignature.
func ParseCard(b []byte) (Node, error) {
	if len(b) > MaxCard {
		return Node{}, fmt.Errorf("%w: card of %d bytes, at most %d", ErrInvalid, len(b), MaxCard)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var c cardJSON
	if err := dec.Decode(&c); err != nil {
		return Node{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Node{}, fmt.Errorf("%w: more after the card", ErrInvalid)
	}
	if c.Version != Version {
		return Node{}, fmt.Errorf("%w %d of a card", ErrVersion, c.Version)
	}
	entry := nodeJSON{ID: c.ID, Operator: c.Operator, Address: c.Address, OnionKey: c.OnionKey}
	n, _, err := entry.node()
	if err == nil {
		err = n.check()
	}
	var sig suite.Signature
	if err == nil {
		err = decodeHex(sig[:], c.Signature)
	}
	if err != nil {
		return Node{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !suite.VerifyKey(n.ID).Verify(labelCard, n.append([]byte{Version}), sig) {
		return Node{}, ErrSignature
	}
	return n, nil
}

// NewNetwork makes the genesis of a network of nodes, dealt to swarms by lot.
func NewNetwork(rand io.Reader, key suite.Signer, doc Document) (*Network, error) {
	swarms, err := swarmCount(len(doc.Nodes), DefaultSwarm)
	if err != nil {
		return nil, err
	}
	left := append([]Node(nil), doc.Nodes...)
	doc.Serial, doc.Nodes = 0, nil
	for len(left) > 0 {
		i, err := uniform(rand, len(left))
		if err != nil {
			return nil, err
		}
		n := left[i]
		n.Swarm = SwarmID(len(doc.Nodes) % swarms)
		doc.Nodes = append(doc.Nodes, n)
		left = append(left[:i], left[i+1:]...)
	}
	return SignDocument(key, doc)
}
