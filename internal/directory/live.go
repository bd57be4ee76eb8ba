package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// MaxPast is how many past directories are kept: mailboxes are moved within
	// hours, so that a change an hour for most of a day loses none of the nodes
	// that they lie with.
	MaxPast = 16
	// PastFor is how long a directory matters after its successor was issued:
	// as long as the longest-lived record that can lie with its nodes, which is
	// a mailbox of 18 days (spec/mailbox.md §3).
	PastFor = 18 * 24 * time.Hour
)

var (
	// ErrOther is returned for a directory of another network.
	ErrOther = errors.New("directory: of another network")
	// ErrNotNewer is returned for a directory that is not newer than the
	// current one: older, or the same.
	ErrNotNewer = errors.New("directory: not newer than the one in use")
	// ErrForked is returned for a directory that has the serial of a known one
	// and another content. The network's key signed both, so that somebody is
	// shown a network of their own. The error is a *Fork, which proves it.
	ErrForked = errors.New("directory: two different ones have the same serial")
)

// Live is the Source of a network that changes (spec/directory.md §5.1). It
// verifies each directory that it is given and never goes back to a lower
// serial. It reads no file; its owner stores what it adopts.
type Live struct {
	now func() time.Time

	mu      sync.Mutex
	current *Directory
	past    []*Directory // descending by serial
	changed chan struct{}
}

// NewLive returns a Source that begins with d. The clock says until when past
// directories matter.
func NewLive(d *Directory, now func() time.Time) *Live {
	return &Live{now: now, current: d, changed: make(chan struct{})}
}

// Current implements Source.
func (l *Live) Current() *Directory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// Past implements Source.
func (l *Live) Past() []*Directory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.matteringLocked()
}

// Changed implements Source.
func (l *Live) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// matteringLocked returns the past directories whose time is not over. Each
// lasts from its successor's date on, as far as the successor is known.
func (l *Live) matteringLocked() []*Directory {
	now, successor := l.now(), l.current
	var out []*Directory
	for _, d := range l.past {
		if now.Before(successor.issued.Add(PastFor)) {
			out = append(out, d)
		}
		successor = d
	}
	return out
}

// Adopt makes n the current directory, if it is signed, of the same network
// and newer. The former one becomes a past one. It returns ErrOther,
// ErrNotNewer or ErrForked, or an error of Network.Directory.
func (l *Live) Adopt(n *Network) error {
	d, err := n.Directory()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.newerLocked(d); err != nil {
		return err
	}
	l.past = slices.Insert(l.past, 0, l.current)
	l.past = l.past[:min(len(l.past), MaxPast)]
	l.current = d
	l.changedLocked()
	return nil
}

// Check returns what Adopt would, and adopts nothing: what is to be stored
// first is checked before.
func (l *Live) Check(n *Network) error {
	d, err := n.Directory()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newerLocked(d)
}

func (l *Live) newerLocked(d *Directory) error {
	if err := l.compareLocked(d); err != nil {
		return err
	}
	if d.serial <= l.current.serial {
		return fmt.Errorf("%w: serial %d, have %d", ErrNotNewer, d.serial, l.current.serial)
	}
	return nil
}

// Remember adds a past directory that its owner did not see when it was the
// current one: a node that joined later needs to know who kept its mailboxes
// before. It returns ErrOther or ErrForked, or an error of Network.Directory;
// one that is known or too old is no error and changes nothing.
func (l *Live) Remember(n *Network) error {
	d, err := n.Directory()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.compareLocked(d); err != nil {
		return err
	}
	i, known := slices.BinarySearchFunc(l.past, d.serial, func(p *Directory, serial uint64) int {
		return cmp.Compare(serial, p.serial)
	})
	if known || d.serial >= l.current.serial || i == MaxPast {
		return nil
	}
	l.past = slices.Insert(l.past, i, d)
	l.past = l.past[:min(len(l.past), MaxPast)]
	l.changedLocked()
	return nil
}

func (l *Live) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// compareLocked refuses a directory of another network, and one that
// contradicts a known one.
func (l *Live) compareLocked(d *Directory) error {
	if !sameNetwork(d, l.current) {
		return ErrOther
	}
	for _, known := range append([]*Directory{l.current}, l.past...) {
		if forks(known, d) {
			return &Fork{Kept: known, Refused: d}
		}
	}
	return nil
}
