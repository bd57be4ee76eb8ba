package directory

import "sotto/internal/identity"

// Source hands out verified directories (spec/directory.md §5.1). All methods
// are safe for concurrent use.
type Source interface {
	// Current returns the newest verified directory, never nil.
	Current() *Directory
	// Past returns the earlier directories that still matter, newest first, at
	// most MaxPast: mailboxes may yet lie with the nodes that they name.
	Past() []*Directory
	// Changed is closed when what Current or Past return becomes more. Take it
	// before reading them, so that no change is missed. A nil channel means
	// that nothing ever changes.
	Changed() <-chan struct{}
}

// Fixed is the Source of a directory that never changes.
func Fixed(d *Directory) Source { return fixed{d} }

type fixed struct{ d *Directory }

func (f fixed) Current() *Directory      { return f.d }
func (f fixed) Past() []*Directory       { return nil }
func (f fixed) Changed() <-chan struct{} { return nil }

// Listed returns the node with the given ID as the newest directory knows it
// that lists it: the current one, or a past one that still matters.
func Listed(s Source, id identity.NodeID) (Node, bool) {
	if n, ok := s.Current().Node(id); ok {
		return n, true
	}
	for _, d := range s.Past() {
		if n, ok := d.Node(id); ok {
			return n, true
		}
	}
	return Node{}, false
}
