package onion

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of a cell and its parts in bytes (spec/onion.md §3).
const (
	// CellSize is the size of every cell on every relay link.
	CellSize = HeaderSize + BodySize
	// HeaderSize is the size of the link header, which is not onion-encrypted.
	HeaderSize = 8
	// BodySize is what the layers of a relay cell encrypt: tag and payload.
	BodySize = TagSize + PayloadSize
	// TagSize is the size of the authenticator in front of the payload.
	TagSize = 16
	// PayloadSize is what a relay cell carries from end to end.
	PayloadSize = 1128
)

// Version is the version of the cells, of CREATE and of CREATED that this
// package speaks; any other is refused.
const Version = 1

// Offsets in the header (spec/onion.md §4.1).
const (
	offCommand = 4
	offVersion = 5
	offPart    = 6
	offZero    = 7
)

// Command says what a cell is to the link.
type Command uint8

// The commands of cells (spec/onion.md §4.1).
const (
	CmdPadding Command = 0 // body is ignored
	CmdCreate  Command = 1 // one of the two parts of a client's handshake
	CmdCreated Command = 2 // one of the two parts of a relay's answer
	CmdRelay   Command = 3 // body is tag and payload, onion-encrypted
	CmdDestroy Command = 4 // body is a Reason and zeros
	// CmdRelayEarly is CmdRelay for the cells of an EXTEND, away from the
	// client only. Relays count them, which bounds the length of circuits.
	CmdRelayEarly Command = 5
)

// MaxEarly is how many RELAY_EARLY cells a circuit may have on a link: the two
// of the EXTEND to the middle and the two of that to the exit. Beyond three
// hops, none is left for another (spec/circuit.md §4.2).
const MaxEarly = 2 * extendCells

// extendCells is how many cells an EXTEND takes that nothing else shares.
const extendCells = 2

// String names the command as the specification does.
func (c Command) String() string {
	switch c {
	case CmdPadding:
		return "PADDING"
	case CmdCreate:
		return "CREATE"
	case CmdCreated:
		return "CREATED"
	case CmdRelay:
		return "RELAY"
	case CmdDestroy:
		return "DESTROY"
	case CmdRelayEarly:
		return "RELAY_EARLY"
	}
	return fmt.Sprintf("command %d", uint8(c))
}

var (
	// ErrVersion is returned for a cell or a handshake of another version.
	ErrVersion = errors.New("onion: unknown version")
	// ErrCommand is returned for a cell whose command is unknown, or is not
	// the one that the caller parses.
	ErrCommand = errors.New("onion: unexpected cell command")
	// ErrReserved is returned when bytes that must be zero are not.
	ErrReserved = errors.New("onion: reserved bytes set")
)

// Cell is the unit on a relay link. The zero value has no valid header;
// SetHeader gives it one.
type Cell [CellSize]byte

// CircID returns the circuit's number on the link.
func (c *Cell) CircID() uint32 { return binary.BigEndian.Uint32(c[:]) }

// SetCircID changes the circuit's number, as a cell goes from link to link.
func (c *Cell) SetCircID(id uint32) { binary.BigEndian.PutUint32(c[:], id) }

// Command returns the command, known or not.
func (c *Cell) Command() Command { return Command(c[offCommand]) }

// Body returns the 1,144 bytes after the header, aliasing the cell.
func (c *Cell) Body() []byte { return c[HeaderSize:] }

// SetHeader writes a whole header and leaves the body alone.
func (c *Cell) SetHeader(id uint32, cmd Command) {
	c.SetCircID(id)
	c[offCommand] = byte(cmd)
	c[offVersion] = Version
	c[offPart] = 0
	c[offZero] = 0
}

// CheckHeader refuses a cell whose version or command is unknown, or whose
// reserved bytes are set. Every cell that arrives on a link passes it first.
func CheckHeader(c *Cell) error {
	if v := c[offVersion]; v != Version {
		return fmt.Errorf("%w: cell version %d, want %d", ErrVersion, v, Version)
	}
	maxPart := byte(0)
	switch c.Command() {
	case CmdCreate, CmdCreated:
		maxPart = createParts - 1
	case CmdPadding, CmdRelay, CmdDestroy, CmdRelayEarly:
	default:
		return fmt.Errorf("%w: %v", ErrCommand, c.Command())
	}
	if c[offPart] > maxPart || c[offZero] != 0 {
		return fmt.Errorf("%w in a %v cell", ErrReserved, c.Command())
	}
	return nil
}

// SetDestroy makes c a DESTROY cell for the given circuit (spec/onion.md §4.3).
func (c *Cell) SetDestroy(id uint32, why Reason) {
	c.SetHeader(id, CmdDestroy)
	clear(c.Body())
	c.Body()[0] = byte(why)
}

// DestroyReason returns the reason in a DESTROY cell. Unknown reasons are
// passed on as they are: a reason never changes what is done.
func (c *Cell) DestroyReason() Reason { return Reason(c.Body()[0]) }
