package swarm

import (
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// Members call one another over one stream in each direction. All frames are
// vec32 (spec/swarm.md §4.3):
//
//	hello  u8 version ‖ bytes[32] from ‖ bytes[32] to ‖ u64 time ‖ bytes[64] signature
//	call   u8 op ‖ u64 id ‖ body
//	reply  u8 code ‖ u64 id ‖ body           code 0: done; else mailbox.ErrorCode
const protocolVersion = 1

type opcode uint8

const (
	opPut       opcode = 1 // a change with a Put → a receipt
	opOpen      opcode = 2 // a change with an Open → nothing
	opDelete    opcode = 3 // a change with a Delete → nothing
	opGet       opcode = 5 // references → records
	opNudge     opcode = 6 // nothing: "compare with me"; references → which are missing
	opReconcile opcode = 7 // reconcileCall → answers
	opMailbox   opcode = 8 // mailboxQuery → mailboxPage
	opMove      opcode = 9 // moveQuery → keeperState
)

const (
	codeDone  = 0
	helloBody = 1 + 2*identity.NodeIDSize + 8
	helloSize = helloBody + suite.SignatureSize
	refSize   = 1 + 32 + 32
)

// hello shows who opens a peer stream. The link vouches for the node already;
// the signature keeps a client whose bytes an exit passes on from posing as it.
func encodeHello(key suite.Signer, to identity.NodeID, now time.Time) []byte {
	from := key.Public()
	b := append(make([]byte, 0, helloSize), protocolVersion)
	b = append(append(b, from[:]...), to[:]...)
	b = wire.AppendUint64(b, uint64(max(now.Unix(), 0)))
	sig := key.Sign(labelHello, b)
	return append(b, sig[:]...)
}

// checkHello verifies that from opened the stream to self just now.
func checkHello(b []byte, from, self identity.NodeID, now time.Time) error {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != protocolVersion {
		return fmt.Errorf("hello of version %d, this program knows %d: %w", v, protocolVersion, ErrProtocol)
	}
	var f, to identity.NodeID
	var sig suite.Signature
	r.Fixed(f[:])
	r.Fixed(to[:])
	at := r.Uint64()
	r.Fixed(sig[:])
	if err := r.Finish(); err != nil {
		return fmt.Errorf("hello: %w: %w", ErrProtocol, err)
	}
	skew, t := uint64(mailbox.MaxClockSkew/time.Second), uint64(max(now.Unix(), 0))
	if f != from || to != self || at+skew < t || at > t+skew {
		return fmt.Errorf("hello of someone else: %w", ErrPeer)
	}
	if !suite.VerifyKey(from).Verify(labelHello, b[:helloBody], sig) {
		return fmt.Errorf("hello's signature: %w", ErrPeer)
	}
	return nil
}

const callHead = 1 + 8

// appendCall appends a call or a reply as a frame.
func appendCall(b []byte, first uint8, id uint64, body []byte) []byte {
	b = append(wire.AppendUint32(b, uint32(callHead+len(body))), first)
	return append(wire.AppendUint64(b, id), body...)
}

// parseCall reads calls and replies, whose heads look alike.
func parseCall(frame []byte) (first uint8, id uint64, body []byte, err error) {
	r := wire.NewReader(frame)
	first, id, body = r.Uint8(), r.Uint64(), r.Rest()
	if err := r.Finish(); err != nil {
		return 0, 0, nil, fmt.Errorf("call: %w: %w", ErrProtocol, err)
	}
	return first, id, body, nil
}

// encodeChange makes the body of opPut, opOpen and opDelete: among whom the
// coordinator counts, and the request.
func encodeChange(k keeperSet, request []byte) []byte {
	return append(append(make([]byte, 0, len(k)+len(request)), k[:]...), request...)
}

func parseChange(b []byte) (k keeperSet, request []byte, err error) {
	r := wire.NewReader(b)
	r.Fixed(k[:])
	request = r.Rest()
	return k, request, protocol("change", r.Finish())
}

// ref names a record of the replicated store.
type ref struct {
	kind    store.Kind
	address [32]byte
	ref     [32]byte
}

func (x ref) append(b []byte) []byte {
	b = append(append(b, byte(x.kind)), x.address[:]...)
	return append(b, x.ref[:]...)
}

func readRef(r *wire.Reader) (x ref) {
	x.kind = store.Kind(r.Uint8())
	r.Fixed(x.address[:])
	r.Fixed(x.ref[:])
	return x
}

func encodeRefs(refs []ref) []byte {
	b := wire.AppendUint16(make([]byte, 0, 2+len(refs)*refSize), uint16(len(refs)))
	for _, x := range refs {
		b = x.append(b)
	}
	return b
}

func parseRefs(b []byte) ([]ref, error) {
	r := wire.NewReader(b)
	n := int(r.Uint16())
	if n > getRefs {
		return nil, protocol("references", wire.ErrTooLong)
	}
	var refs []ref
	for range n {
		refs = append(refs, readRef(r))
	}
	return refs, protocol("references", r.Finish())
}

// records answer references one by one, from the first on; an empty one says
// that the record is gone, and what is left out is asked for again.
func encodeRecords(records [][]byte) []byte {
	n := 2
	for _, x := range records {
		n += 4 + len(x)
	}
	b := wire.AppendUint16(make([]byte, 0, n), uint16(len(records)))
	for _, x := range records {
		b = wire.AppendVec32(b, x)
	}
	return b
}

func parseRecords(b []byte) ([][]byte, error) {
	r := wire.NewReader(b)
	n := int(r.Uint16())
	if n > getRefs {
		return nil, protocol("records", wire.ErrTooLong)
	}
	var out [][]byte
	for range n {
		out = append(out, r.Vec32(maxPeerFrame))
	}
	return out, protocol("records", r.Finish())
}

func protocol(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrProtocol, err)
	}
	return nil
}
