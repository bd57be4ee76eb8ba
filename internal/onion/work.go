package onion

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// WorkSlot is the span of time that work in a CREATE is bound to. It is
	// good in its slot and the two beside it: so much may clocks differ, and
	// nothing can be done ahead for longer.
	WorkSlot = time.Minute
	// workSkew is how many slots before and after the relay's own count.
	workSkew = 1
	// workStopEvery is how many tries lie between two questions to stop.
	workStopEvery = 1 << 10

	workSize = 1 + 8 // effort and nonce

	labelWork suite.Label = suite.LabelPrefix + "onion/create/work"
)

var (
	// ErrWork is returned for a CREATE whose work is not what it says, or is
	// of another time.
	ErrWork = errors.New("onion: work is not valid")
	// ErrStopped is returned by PaidHandshake when it was told to stop.
	ErrStopped = errors.New("onion: work was stopped")
)

// Payment is the work that a client puts into a CREATE, for a relay that has
// more to answer than it can (spec/onion.md §5.7). The zero value is none.
type Payment struct {
	// Effort is the work as a power of two: each more doubles it. At most 64.
	Effort uint8
	// At is the time, which the relay's may not differ from by much.
	At time.Time
	// Stop is asked every millisecond or so, unless nil, and ends the work.
	Stop func() bool
}

// Proof tells the work in one CREATE from any other.
type Proof [16]byte

// CheckWork checks the work in a CREATE for relay at the time now, at the
// price of three hashes, and returns its effort. What is free has the effort 0.
func CheckWork(relay identity.NodeID, create []byte, now time.Time) (effort uint8, proof Proof, err error) {
	head, skin, err := parseCreate(create)
	if err != nil {
		return 0, Proof{}, err
	}
	effort, nonce := head.effort, head.nonce
	if effort == 0 {
		if nonce != 0 {
			return 0, Proof{}, fmt.Errorf("%w: a nonce without effort", ErrWork)
		}
		return 0, Proof{}, nil
	}
	x := suite.DHPublic(skin[identity.NodeIDSize+suite.DHSize:])
	slot := workSlot(now)
	for s := slot - workSkew; s != slot+workSkew+1; s++ {
		block := workBlock(relay, s, x, effort)
		if h, ok := tryWork(&block, nonce, effort); ok {
			return effort, Proof(h[suite.HashSize-len(proof):]), nil
		}
	}
	return 0, Proof{}, fmt.Errorf("%w for effort %d", ErrWork, effort)
}

// solve finds the nonce.
func (p Payment) solve(relay identity.NodeID, x suite.DHPublic) (nonce uint64, err error) {
	if p.Effort == 0 {
		return 0, nil
	}
	block := workBlock(relay, workSlot(p.At), x, p.Effort)
	for nonce := uint64(0); ; nonce++ {
		if nonce%workStopEvery == 0 && p.Stop != nil && p.Stop() {
			return 0, ErrStopped
		}
		if _, ok := tryWork(&block, nonce, p.Effort); ok {
			return nonce, nil
		}
	}
}

// workSlot is the number of the slot that t lies in.
func workSlot(t time.Time) uint64 { return uint64(t.Unix()) / uint64(WorkSlot/time.Second) }

// workBlock is what is hashed, with room for the nonce at its end: one block
// of SHA-256 with its padding, so that a try costs one compression.
func workBlock(relay identity.NodeID, slot uint64, x suite.DHPublic, effort uint8) (block [suite.HashSize + 8]byte) {
	h := suite.Hash(labelWork, relay[:], wire.AppendUint64(nil, slot), x[:], []byte{effort})
	copy(block[:], h[:])
	return block
}

func tryWork(block *[suite.HashSize + 8]byte, nonce uint64, effort uint8) (h [sha256.Size]byte, ok bool) {
	binary.BigEndian.PutUint64(block[suite.HashSize:], nonce)
	h = sha256.Sum256(block[:])
	return h, bits.LeadingZeros64(binary.BigEndian.Uint64(h[:])) >= int(effort)
}
