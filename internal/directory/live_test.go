package directory_test

import (
	"errors"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/suite"
)

// succession signs documents of one network.
type succession struct {
	t   *testing.T
	key suite.SigningKey
	doc directory.Document
}

func newSuccession(t *testing.T) *succession {
	t.Helper()
	key, err := suite.NewSigningKey(stream(7))
	if err != nil {
		t.Fatal(err)
	}
	return &succession{t, key, local(t, 6, 5).Document}
}

// at returns the document of a serial, issued so many hours after the genesis.
func (s *succession) at(serial uint64) *directory.Network {
	s.t.Helper()
	doc := s.doc
	doc.Serial, doc.Issued = serial, created.Add(time.Duration(serial)*time.Hour)
	n, err := directory.SignDocument(s.key, doc)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func serials(ds []*directory.Directory) (out []uint64) {
	for _, d := range ds {
		out = append(out, d.Serial())
	}
	return out
}

// downFrom returns n serials, descending.
func downFrom(serial uint64, n int) (out []uint64) {
	for range n {
		out = append(out, serial)
		serial--
	}
	return out
}

func wantPast(t *testing.T, l *directory.Live, want ...uint64) {
	t.Helper()
	got := serials(l.Past())
	if len(got) != len(want) {
		t.Fatalf("past directories %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("past directories %v, want %v", got, want)
		}
	}
}

func TestLiveAdoptsWhatIsNewer(t *testing.T) {
	s, now := newSuccession(t), created
	l := directory.NewLive(verified(t, s.at(0)), func() time.Time { return now })
	wantPast(t, l)
	changed := l.Changed()
	if err := l.Adopt(s.at(2)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Fatal("no word of the change")
	}
	if got := l.Current().Serial(); got != 2 {
		t.Fatalf("serial %d, want 2", got)
	}
	wantPast(t, l, 0)
	changed = l.Changed()
	for _, serial := range []uint64{0, 1, 2} {
		if err := l.Adopt(s.at(serial)); !errors.Is(err, directory.ErrNotNewer) {
			t.Fatalf("serial %d: got %v, want ErrNotNewer", serial, err)
		}
	}
	select {
	case <-changed:
		t.Fatal("word of a change that was refused")
	default:
	}
	last := uint64(3 + directory.MaxPast)
	for serial := uint64(3); serial <= last; serial++ {
		if err := l.Adopt(s.at(serial)); err != nil {
			t.Fatal(err)
		}
	}
	wantPast(t, l, downFrom(last-1, directory.MaxPast)...)
	// The time of one is over once the next is PastFor old.
	now = created.Add(time.Duration(last-1)*time.Hour + directory.PastFor)
	wantPast(t, l, last-1)
	now = now.Add(time.Hour)
	wantPast(t, l)
}

func TestLiveRemembers(t *testing.T) {
	s := newSuccession(t)
	l := directory.NewLive(verified(t, s.at(29)), func() time.Time { return created })
	known := downFrom(28, directory.MaxPast)
	for _, serial := range append([]uint64{25, 27, 26, 27, 29, 32, 4, 3, 28}, known...) {
		if err := l.Remember(s.at(serial)); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Current().Serial(); got != 29 {
		t.Fatalf("remembering changed the current directory to %d", got)
	}
	wantPast(t, l, known...)
	changed := l.Changed()
	if err := l.Remember(s.at(4)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Fatal("word of a change, of one too many")
	default:
	}
}

func TestLiveRefuses(t *testing.T) {
	s := newSuccession(t)
	first := s.at(1)
	l := directory.NewLive(verified(t, first), func() time.Time { return created })
	change := func(f func(*succession)) *directory.Network {
		c := *s
		f(&c)
		return c.at(2)
	}
	other, err := suite.NewSigningKey(stream(8))
	if err != nil {
		t.Fatal(err)
	}
	unsigned := *s.at(2)
	unsigned.Document.Serial++
	forked := *s
	forked.doc.Nodes = forked.doc.Nodes[1:]
	for name, tc := range map[string]struct {
		n    *directory.Network
		want error
	}{
		"another key":     {change(func(s *succession) { s.key = other }), directory.ErrOther},
		"another name":    {change(func(s *succession) { s.doc.Name = "other" }), directory.ErrOther},
		"another genesis": {change(func(s *succession) { s.doc.Created = s.doc.Created.Add(time.Second) }), directory.ErrOther},
		"not signed":      {&unsigned, directory.ErrSignature},
		"forked":          {forked.at(1), directory.ErrForked},
	} {
		for way, take := range map[string]func(*directory.Network) error{"adopt": l.Adopt, "check": l.Check, "remember": l.Remember} {
			if err := take(tc.n); !errors.Is(err, tc.want) {
				t.Errorf("%s, %s: got %v, want %v", way, name, err, tc.want)
			}
		}
	}
	if got := l.Current().Serial(); got != 1 || len(l.Past()) != 0 {
		t.Fatalf("at serial %d with %d past ones after refusals", got, len(l.Past()))
	}
	if err := l.Check(s.at(2)); err != nil || l.Current().Serial() != 1 {
		t.Fatalf("checking adopted serial %d (%v)", l.Current().Serial(), err)
	}
	if err := l.Adopt(s.at(2)); err != nil {
		t.Fatal(err)
	}
	if err := l.Remember(forked.at(1)); !errors.Is(err, directory.ErrForked) {
		t.Errorf("forked past: got %v, want ErrForked", err)
	}
}

func TestListed(t *testing.T) {
	s := newSuccession(t)
	gone := s.doc.Nodes[0]
	l := directory.NewLive(verified(t, s.at(0)), func() time.Time { return created })
	s.doc.Nodes = s.doc.Nodes[1:]
	s.doc.Nodes[0].Operator = "renamed"
	if err := l.Adopt(s.at(1)); err != nil {
		t.Fatal(err)
	}
	if n, ok := directory.Listed(l, gone.ID); !ok || n != gone {
		t.Errorf("a node of the past directory is %v, %v", n, ok)
	}
	if n, ok := directory.Listed(l, s.doc.Nodes[0].ID); !ok || n.Operator != "renamed" {
		t.Errorf("a node of both is %v, %v", n, ok)
	}
	again := verified(t, l.Current().Network())
	if again.Serial() != 1 || again.Len() != l.Current().Len() {
		t.Error("the network of a directory is another")
	}
}
