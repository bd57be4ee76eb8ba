package swarm

import (
	"sotto/internal/directory"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// mailboxRefs bounds an answer to opMailbox: a full mailbox of the smallest
// envelopes is sixteen of them.
const mailboxRefs = 1024

// wholeSerials bounds the serials of a keeperState: the present directory's and
// those of the past ones that matter.
const wholeSerials = 1 + directory.MaxPast

// mailboxQuery asks a past keeper what it has of one mailbox, behind a
// reference, for a keeper under the directory with a serial.
type mailboxQuery struct {
	serial  uint64
	address [32]byte
	after   store.Reference
}

const refInMailbox = 1 + 32

func appendReference(b []byte, x store.Reference) []byte {
	return append(append(b, byte(x.Kind)), x.Ref[:]...)
}

func readReference(r *wire.Reader) (x store.Reference) {
	x.Kind = store.Kind(r.Uint8())
	r.Fixed(x.Ref[:])
	return x
}

func (q mailboxQuery) encode() []byte {
	b := append(wire.AppendUint64(make([]byte, 0, 8+32+refInMailbox), q.serial), q.address[:]...)
	return appendReference(b, q.after)
}

func parseMailboxQuery(b []byte) (q mailboxQuery, err error) {
	r := wire.NewReader(b)
	q.serial = r.Uint64()
	r.Fixed(q.address[:])
	q.after = readReference(r)
	return q, protocol("mailbox query", r.Finish())
}

// keeperState begins the answers of one that mailboxes are got from.
type keeperState struct {
	// gone: it dropped them, since their keepers had them.
	gone bool
	// floor is the first serial since which it lost or dropped nothing.
	floor uint64
	// whole lists serials of directories under which it had everything that was
	// acknowledged before, at its addresses of then.
	whole []uint64
}

func (k keeperState) append(b []byte) []byte {
	b = append(wire.AppendUint64(append(b, yes(k.gone)), k.floor), byte(len(k.whole)))
	for _, serial := range k.whole {
		b = wire.AppendUint64(b, serial)
	}
	return b
}

func readKeeperState(r *wire.Reader) (k keeperState, err error) {
	gone, floor, n := r.Uint8(), r.Uint64(), int(r.Uint8())
	if gone > 1 || n > wholeSerials {
		return k, wire.ErrTooLong
	}
	k.gone, k.floor = gone == 1, floor
	for range n {
		k.whole = append(k.whole, r.Uint64())
	}
	return k, r.Err()
}

// mailboxPage answers a mailboxQuery.
type mailboxPage struct {
	state keeperState
	more  bool
	refs  []store.Reference
}

func (p mailboxPage) encode() []byte {
	b := append(p.state.append(nil), yes(p.more))
	b = wire.AppendUint16(b, uint16(len(p.refs)))
	for _, x := range p.refs {
		b = appendReference(b, x)
	}
	return b
}

func parseMailboxPage(b []byte) (p mailboxPage, err error) {
	r := wire.NewReader(b)
	if p.state, err = readKeeperState(r); err != nil {
		return mailboxPage{}, protocol("mailbox page", err)
	}
	more, n := r.Uint8(), int(r.Uint16())
	if n > mailboxRefs || more > 1 {
		return mailboxPage{}, protocol("mailbox page", wire.ErrTooLong)
	}
	p.more = more == 1
	for range n {
		p.refs = append(p.refs, readReference(r))
		if r.Err() != nil {
			break
		}
	}
	return p, protocol("mailbox page", r.Finish())
}

// moveQuery begins and ends the getting of a section: the asker keeps it under
// the directory with a serial, and has, or has not yet, all that the other had.
type moveQuery struct {
	serial uint64
	done   bool
}

func (q moveQuery) encode() []byte {
	return append(wire.AppendUint64(nil, q.serial), yes(q.done))
}

func parseMoveQuery(b []byte) (q moveQuery, err error) {
	r := wire.NewReader(b)
	q.serial = r.Uint64()
	done := r.Uint8()
	if done > 1 {
		return moveQuery{}, protocol("move query", wire.ErrTooLong)
	}
	q.done = done == 1
	return q, protocol("move query", r.Finish())
}

func parseMoveReply(b []byte) (k keeperState, err error) {
	r := wire.NewReader(b)
	if k, err = readKeeperState(r); err != nil {
		return keeperState{}, protocol("move reply", err)
	}
	return k, protocol("move reply", r.Finish())
}

func yes(b bool) byte {
	if b {
		return 1
	}
	return 0
}
