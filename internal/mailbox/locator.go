package mailbox

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

// Kind says who may do what in a mailbox (spec/mailbox.md §4.1).
type Kind uint8

// The kinds. Sync and file mailboxes are reserved, and refused by name.
const (
	KindConversation Kind = 1
	KindFrontDoor    Kind = 2
	KindCard         Kind = 3
	KindSync         Kind = 4
	KindFile         Kind = 5
)

var kindNames = map[Kind]string{
	KindConversation: "conversation",
	KindFrontDoor:    "front door",
	KindCard:         "card",
	KindSync:         "sync",
	KindFile:         "file",
}

// String returns the kind's name.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

func (k Kind) check() error {
	switch k {
	case KindConversation, KindFrontDoor, KindCard:
		return nil
	case KindSync, KindFile:
		return fmt.Errorf("%s mailboxes are reserved: %w", k, ErrForbidden)
	default:
		return fmt.Errorf("%s: %w", k, ErrForbidden)
	}
}

// AddressSize is the size of an Address in bytes.
const AddressSize = suite.HashSize

// Address is where a mailbox lies. It commits to the keys of its Locator;
// knowing it alone gives nothing.
type Address [AddressSize]byte

// String returns the address in hex. Nodes do not log it.
func (a Address) String() string { return hex.EncodeToString(a[:]) }

// Locator is what an address commits to. Every request carries it, so that a
// node checks rights without having stored any.
type Locator struct {
	Kind   Kind
	Period uint64
	Owner  suite.VerifyKey
	Shared suite.VerifyKey
}

// Address returns the mailbox's address.
func (l Locator) Address() Address {
	return suite.Hash(labelAddress, []byte{byte(l.Kind)},
		binary.BigEndian.AppendUint64(nil, l.Period), l.Owner[:], l.Shared[:])
}

func (l Locator) append(b []byte) []byte {
	b = wire.AppendUint64(append(b, byte(l.Kind)), l.Period)
	return append(append(b, l.Owner[:]...), l.Shared[:]...)
}

func readLocator(r *wire.Reader) (l Locator) {
	l.Kind, l.Period = Kind(r.Uint8()), r.Uint64()
	r.Fixed(l.Owner[:])
	r.Fixed(l.Shared[:])
	return l
}

// FrontDoor returns root's mailbox for first contact in period p.
func FrontDoor(root suite.VerifyKey, p identity.Period) (Locator, error) {
	return blindedLocator(KindFrontDoor, root, p, identity.FrontDoorShared(root, p))
}

// CardBox returns the mailbox of root's cards of period p.
func CardBox(root suite.VerifyKey, p identity.Period) (Locator, error) {
	return blindedLocator(KindCard, root, p, identity.CardShared(root, p))
}

func blindedLocator(k Kind, root suite.VerifyKey, p identity.Period, shared suite.SigningKey) (Locator, error) {
	owner, err := identity.PeriodBlindedPublic(root, p)
	if err != nil {
		return Locator{}, err
	}
	return Locator{Kind: k, Period: uint64(p), Owner: owner, Shared: shared.Public()}, nil
}
