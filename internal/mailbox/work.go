package mailbox

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// DefaultWorkBits is the price of an idle and empty member: solving takes some 20 to 50 ms on
	// one core, checking takes one hash.
	DefaultWorkBits = 18
	// MaxWorkBits is the dearest quote that a client accepts: a minute or two.
	MaxWorkBits = 30
	// QuoteLife is how long a quote counts, so that work can be done ahead.
	QuoteLife = time.Hour
	// QuoteStep is the grid on which quotes begin. A member's quotes of one step
	// are equal in every byte, and so tell no client from another, although they
	// are stored with all that they pay for. Half a life is always left.
	QuoteStep = QuoteLife / 2
	// WorkSize is the size of an encoded Work in bytes.
	WorkSize  = quoteSize + 8
	quoteSize = identity.NodeIDSize + 1 + 16 + suite.SignatureSize

	// openUnitBytes and OpenUnitDays are what a mailbox gets for one price:
	// a conversation's period with its TTL. Each doubling costs one bit.
	openUnitBytes = 4 << 20
	OpenUnitDays  = 18
	// stopEvery is how many tries lie between two questions to stop.
	stopEvery = 1 << 10
)

// WorkQuote is a price, signed by a member of the swarm.
type WorkQuote struct {
	Node      identity.NodeID
	Bits      uint8
	Issued    uint64
	Expires   uint64
	Signature suite.Signature
}

// Work is a solution for one purpose at one address.
type Work struct {
	Quote WorkQuote
	Nonce uint64
}

// Purpose is what work pays for; it binds the work to the request.
type Purpose struct {
	Address Address
	extra   uint8
	binding [suite.HashSize]byte
}

// OpenPurpose is the purpose of opening addr for bytes and days.
func OpenPurpose(addr Address, size uint32, days uint16) Purpose {
	var field [6]byte
	binary.BigEndian.PutUint32(field[:4], size)
	binary.BigEndian.PutUint16(field[4:], days)
	units := ceilDiv(uint64(size), openUnitBytes) * ceilDiv(uint64(days), OpenUnitDays)
	return Purpose{
		Address: addr,
		extra:   uint8(bits.Len64(max(units, 1) - 1)),
		binding: suite.Hash(labelPurpose, []byte{byte(TagOpen)}, addr[:], field[:]),
	}
}

// PutPurpose is the purpose of putting an envelope at a front door.
func PutPurpose(addr Address, d Digest) Purpose {
	return Purpose{Address: addr, binding: suite.Hash(labelPurpose, []byte{byte(TagPut)}, addr[:], d[:])}
}

func ceilDiv(a, b uint64) uint64 { return (a + b - 1) / b }

// NewWorkQuote signs a price that counts for QuoteLife from the beginning of
// the current QuoteStep.
func NewWorkQuote(node suite.Signer, bits uint8, now time.Time) WorkQuote {
	issued := unix(now) / seconds(QuoteStep) * seconds(QuoteStep)
	q := WorkQuote{Node: identity.NodeID(node.Public()), Bits: bits, Issued: issued, Expires: issued + seconds(QuoteLife)}
	q.Signature = node.Sign(labelQuote, q.body(nil))
	return q
}

// Verify checks the quote's signature and that it counts at now. Whether Node
// is a member of the swarm is the caller's to check.
func (q *WorkQuote) Verify(now time.Time) error {
	if err := q.checkTime(now); err != nil {
		return err
	}
	return q.verifySignature()
}

// checkTime also refuses times off the grid, by which a member could mark the
// clients that it gives them to.
func (q *WorkQuote) checkTime(now time.Time) error {
	t, skew := unix(now), seconds(MaxClockSkew)
	if q.Issued > t+skew || q.Expires < q.Issued || t > q.Expires+skew {
		return fmt.Errorf("quote outside its time: %w", ErrBadWork)
	}
	if q.Issued%seconds(QuoteStep) != 0 || q.Expires-q.Issued != seconds(QuoteLife) {
		return fmt.Errorf("quote off the grid: %w", ErrBadWork)
	}
	return nil
}

func (q *WorkQuote) verifySignature() error {
	if !suite.VerifyKey(q.Node).Verify(labelQuote, q.body(nil), q.Signature) {
		return fmt.Errorf("quote's signature: %w", ErrBadWork)
	}
	return nil
}

func (q *WorkQuote) body(b []byte) []byte {
	b = append(append(b, q.Node[:]...), q.Bits)
	return wire.AppendUint64(wire.AppendUint64(b, q.Issued), q.Expires)
}

func (q *WorkQuote) append(b []byte) []byte { return append(q.body(b), q.Signature[:]...) }

func readQuote(r *wire.Reader) (q WorkQuote) {
	r.Fixed(q.Node[:])
	q.Bits, q.Issued, q.Expires = r.Uint8(), r.Uint64(), r.Uint64()
	r.Fixed(q.Signature[:])
	return q
}

func (w *Work) append(b []byte) []byte { return wire.AppendUint64(w.Quote.append(b), w.Nonce) }

func readWork(r *wire.Reader) Work { return Work{Quote: readQuote(r), Nonce: r.Uint64()} }

// MedianQuote returns the quote of the median price, which no minority of
// members can move; quotes must not be empty.
func MedianQuote(quotes []WorkQuote) WorkQuote {
	sorted := slices.SortedFunc(slices.Values(quotes), func(a, b WorkQuote) int { return int(a.Bits) - int(b.Bits) })
	return sorted[len(sorted)/2]
}

// SolveWork finds work for a purpose at a quote's price. It asks stop, unless
// nil, every millisecond or so, and returns ErrStopped when it says true.
func SolveWork(stop func() bool, p Purpose, q WorkQuote) (Work, error) {
	if q.Bits > MaxWorkBits {
		return Work{}, fmt.Errorf("quote of %d bits, at most %d: %w", q.Bits, MaxWorkBits, ErrBadWork)
	}
	block, need := workBlock(p, q), int(q.Bits)+int(p.extra)
	for n := uint64(0); ; n++ {
		if n%stopEvery == 0 && stop != nil && stop() {
			return Work{}, ErrStopped
		}
		if workBits(&block, n) >= need {
			return Work{Quote: q, Nonce: n}, nil
		}
	}
}

// VerifyWork checks a solution and its quote for a purpose at now; the
// signature, which costs the most, comes last, when the work has been done.
func VerifyWork(p Purpose, w *Work, now time.Time) error {
	if err := w.Quote.checkTime(now); err != nil {
		return err
	}
	if err := verifySolution(p, w); err != nil {
		return err
	}
	return w.Quote.verifySignature()
}

func verifySolution(p Purpose, w *Work) error {
	block := workBlock(p, w.Quote)
	if workBits(&block, w.Nonce) < int(w.Quote.Bits)+int(p.extra) {
		return fmt.Errorf("too little work: %w", ErrBadWork)
	}
	return nil
}

// workBlock is what is hashed, with room for the nonce at its end: one block
// of SHA-256 with its padding, so that a try costs one compression.
func workBlock(p Purpose, q WorkQuote) [40]byte {
	var block [40]byte
	h := suite.Hash(labelWork, p.binding[:], q.append(nil))
	copy(block[:], h[:])
	return block
}

func workBits(block *[40]byte, nonce uint64) int {
	binary.BigEndian.PutUint64(block[32:], nonce)
	h := sha256.Sum256(block[:])
	return bits.LeadingZeros64(binary.BigEndian.Uint64(h[:8]))
}
