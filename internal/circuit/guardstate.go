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

// encode returns the stored form (spec/circuit.md §5.3).
func (s *guardSet) encode() []byte {
	b := []byte{guardVersion, byte(len(s.list))}
	for _, g := range s.list {
		b = append(b, g.id[:]...)
		b = wire.AppendUint64(b, uint64(g.added.Unix()))
		b = wire.AppendUint64(b, uint64(g.expires.Unix()))
		b = wire.AppendUint16(b, g.tried)
		b = wire.AppendUint16(b, g.built)
	}
	return b
}

// parseGuards reads what encode wrote.
func parseGuards(b []byte) (*guardSet, error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != guardVersion {
		return nil, fmt.Errorf("%w: unknown version %d", ErrGuardState, v)
	}
	count := int(r.Uint8())
	if count > maxSample {
		return nil, fmt.Errorf("%w: %d guards, at most %d", ErrGuardState, count, maxSample)
	}
	s := &guardSet{}
	for i := 0; i < count && r.Err() == nil; i++ {
		g := &guard{}
		r.Fixed(g.id[:])
		added, expires := r.Uint64(), r.Uint64()
		g.tried, g.built = r.Uint16(), r.Uint16()
		if r.Err() == nil && (added > maxTime || expires > maxTime || g.built > g.tried ||
			s.find(g.id) != nil || g.id == identity.NodeID{}) {
			return nil, fmt.Errorf("%w: guard %d is not valid", ErrGuardState, i)
		}
		g.added, g.expires = time.Unix(int64(added), 0), time.Unix(int64(expires), 0)
		s.list = append(s.list, g)
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGuardState, err)
	}
	return s, nil
}

// maxTime keeps sums of stored times free of overflow.
const maxTime = 253402300799 // the end of 9999
