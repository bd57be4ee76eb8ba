package circuit

import (
	"fmt"
	"time"

	"sotto/internal/identity"
	"sotto/internal/wire"
)

// guardVersion is the version of the stored guards.
const guardVersion = 1

// GuardStore keeps the guards between runs. Load returns nothing at the first
// run. Who one's guards are says something about a person: the store encrypts.
type GuardStore interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// encodeGuards returns the stored form (spec/circuit.md §3.4).
func encodeGuards(s *guardSet, v *vanguardSet) []byte {
	b := []byte{guardVersion, byte(len(s.list))}
	for _, g := range s.list {
		b = appendEntry(b, g.id, g.added, g.expires)
		for _, share := range []share{g.bias.built, g.bias.served} {
			b = wire.AppendUint16(b, share.of)
			b = wire.AppendUint16(b, share.good)
		}
	}
	b = append(b, byte(len(v.list)))
	for _, g := range v.list {
		b = appendEntry(b, g.id, g.added, g.expires)
	}
	return b
}

func appendEntry(b []byte, id identity.NodeID, added, expires time.Time) []byte {
	b = append(b, id[:]...)
	b = wire.AppendUint64(b, uint64(added.Unix()))
	return wire.AppendUint64(b, uint64(expires.Unix()))
}

// parseGuards reads what encodeGuards wrote.
func parseGuards(b []byte) (*guardSet, *vanguardSet, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != guardVersion {
		return nil, nil, fmt.Errorf("%w: unknown version %d", ErrGuardState, v)
	}
	s, v := &guardSet{}, &vanguardSet{}
	count, err := readCount(r, "guards", maxSample)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < count && r.Err() == nil; i++ {
		g := &guard{}
		ok := readEntry(r, &g.id, &g.added, &g.expires)
		g.bias.built, g.bias.served = readShare(r), readShare(r)
		if r.Err() == nil && (!ok || s.find(g.id) != nil || g.bias.built.good > g.bias.built.of || g.bias.served.good > g.bias.served.of) {
			return nil, nil, fmt.Errorf("%w: guard %d is not valid", ErrGuardState, i)
		}
		s.list = append(s.list, g)
	}
	if count, err = readCount(r, "vanguards", vanguardCount); err != nil {
		return nil, nil, err
	}
	for i := 0; i < count && r.Err() == nil; i++ {
		g := &vanguard{}
		if ok := readEntry(r, &g.id, &g.added, &g.expires); r.Err() == nil && (!ok || v.find(g.id) != nil) {
			return nil, nil, fmt.Errorf("%w: vanguard %d is not valid", ErrGuardState, i)
		}
		v.list = append(v.list, g)
	}
	if err := r.Finish(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrGuardState, err)
	}
	return s, v, nil
}

func readCount(r *wire.Reader, what string, most int) (int, error) {
	count := int(r.Uint8())
	if count > most {
		return 0, fmt.Errorf("%w: %d %s, at most %d", ErrGuardState, count, what, most)
	}
	return count, nil
}

// readEntry reads what guards and vanguards have in common; ok is false if it
// is not valid.
func readEntry(r *wire.Reader, id *identity.NodeID, added, expires *time.Time) (ok bool) {
	r.Fixed(id[:])
	a, e := r.Uint64(), r.Uint64()
	if a > maxTime || e > maxTime {
		return false
	}
	*added, *expires = time.Unix(int64(a), 0), time.Unix(int64(e), 0)
	return *id != identity.NodeID{}
}

func readShare(r *wire.Reader) share { return share{of: r.Uint16(), good: r.Uint16()} }

// maxTime keeps sums of stored times free of overflow.
const maxTime = 253402300799 // the end of 9999
