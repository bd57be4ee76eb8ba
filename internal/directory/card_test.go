package directory_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sotto/internal/directory"
)

func card(t testing.TB) (directory.LocalNode, []byte) {
	t.Helper()
	l, err := directory.NewLocalNode(stream(4), 9, 4433)
	if err != nil {
		t.Fatal(err)
	}
	b, err := directory.EncodeCard(l.Identity, l.Node)
	if err != nil {
		t.Fatal(err)
	}
	return l, b
}

func TestCard(t *testing.T) {
	l, b := card(t)
	n, err := directory.ParseCard(b)
	if err != nil || n != l.Node {
		t.Fatalf("got %+v, %v", n, err)
	}
	good := string(b)
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"another address":  {strings.Replace(good, "127.9", "127.8", 1), directory.ErrSignature},
		"another operator": {strings.Replace(good, "operator-9", "operator-8", 1), directory.ErrSignature},
		"no host's":        {strings.Replace(good, "127.9.0.1", "224.0.0.1", 1), directory.ErrInvalid},
		"version":          {strings.Replace(good, `"version": 1`, `"version": 2`, 1), directory.ErrVersion},
		"unknown field":    {strings.Replace(good, `"operator"`, `"owner"`, 1), directory.ErrInvalid},
		"more":             {good + "{}", directory.ErrInvalid},
		"empty":            {"", directory.ErrInvalid},
		"too long":         {strings.Repeat(" ", directory.MaxCard) + good, directory.ErrInvalid},
	} {
		if _, err := directory.ParseCard([]byte(tc.in)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	l.Node.Operator = "Not allowed"
	if _, err := directory.EncodeCard(l.Identity, l.Node); !errors.Is(err, directory.ErrInvalid) {
		t.Errorf("a bad entry was signed: %v", err)
	}
}

func FuzzCard(f *testing.F) {
	l, b := card(f)
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := directory.ParseCard(in)
		if err != nil || n.ID != l.Node.ID {
			return
		}
		if again, err := directory.EncodeCard(l.Identity, n); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("another card of this node was accepted (%v)", err)
		}
	})
}

func TestNewNetwork(t *testing.T) {
	s := newSuccession(t)
	doc := local(t, 23, 5).Document
	n, err := directory.NewNetwork(stream(3), s.key, doc)
	if err != nil {
		t.Fatal(err)
	}
	d := verified(t, n)
	if d.Len() != 23 || len(d.Swarms()) != 4 || d.Serial() != 0 {
		t.Fatalf("%d nodes in %d swarms, serial %d", d.Len(), len(d.Swarms()), d.Serial())
	}
	for _, id := range d.Swarms() {
		if got := len(d.Swarm(id)); got < 5 || got > 6 {
			t.Errorf("swarm %d has %d members", id, got)
		}
	}
}
