package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/wire"
)

// SuffixOpened ends the name of the file beside a store that holds the stamps of
// its last opening, and, while that is being written, of the one before. A store
// with another stamp is an older copy, or not the one that was here, and lacks
// what came since (spec/swarm.md §5.12).
const SuffixOpened = ".opened"

// maxOpened bounds that file: two numbers and the characters between.
const maxOpened = 64

// lives are the stamps that a store may have; the zero value is that of a place
// where no store was opened yet.
type lives struct {
	known  bool
	stamps []uint64
}

// readLives reads the file beside the store. What is not a file of ours says that
// a store was here, and fits none.
func (s *Store) readLives() (l lives, err error) {
	f, err := s.disk.Open(s.dir + SuffixOpened)
	if errors.Is(err, fs.ErrNotExist) {
		return lives{}, nil
	}
	if err != nil {
		return lives{}, fmt.Errorf("store: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxOpened))
	if err = errors.Join(err, f.Close()); err != nil {
		return lives{}, fmt.Errorf("store: %w", err)
	}
	l.known = true
	for _, field := range strings.Fields(string(b)) {
		stamp, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return lives{known: true}, nil
		}
		l.stamps = append(l.stamps, stamp)
	}
	return l, nil
}

// writeLives replaces the file in one step that a crash leaves done or undone.
func (s *Store) writeLives(stamps ...uint64) error {
	var b strings.Builder
	for _, stamp := range stamps {
		fmt.Fprintln(&b, stamp)
	}
	name := s.dir + SuffixOpened
	f, err := s.disk.Create(name+suffixNew, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = io.WriteString(f, b.String())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = s.disk.Rename(name+suffixNew, name)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return syncParent(s.disk, s.dir)
}

// judge says loudly, and on disk, when the store is not what was here last: one
// that the files beside it name and that is gone, or an older copy. It then
// lacks what it lost, as after a repair, until the swarm has brought it back.
func (s *Store) judge() error {
	l, err := s.readLives()
	if err != nil {
		return err
	}
	s.lacks = false
	had, empty := s.state.opened, s.state.opened == 0
	var what string
	switch {
	case empty && (s.vanished || l.known):
		what = "the store that was here is gone: beginning with an empty one"
	case empty:
		return nil // nobody opened one here before
	case !l.known:
		what = "the store was put here from elsewhere"
	default:
		for _, stamp := range l.stamps {
			if stamp == had {
				return nil
			}
		}
		what = "the store is an older copy"
	}
	s.lacks = true
	s.log.Error(what + "; what it lacks comes back from the other members, and until then it counts for nothing")
	if s.readOnly {
		return nil // said again once it is opened for writing
	}
	return s.db.Set(keyMark(FactSalvaged, [32]byte{}), s.now64(), pebble.Sync)
}

// now64 is a mark's value of now.
func (s *Store) now64() []byte {
	return wire.AppendUint64(wire.AppendUint64(nil, 0), uint64(max(s.now().Unix(), 0)))
}
