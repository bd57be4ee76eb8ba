package directory_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sotto/internal/directory"
	"sotto/internal/suite"
)

// aFork returns the proof that a source makes of two documents with serial 1.
func aFork(t *testing.T, s *succession) *directory.Fork {
	t.Helper()
	forked := *s
	forked.doc.Nodes = forked.doc.Nodes[1:]
	l := directory.NewLive(verified(t, s.at(1)), func() time.Time { return created })
	var fork *directory.Fork
	if err := l.Check(forked.at(1)); !errors.As(err, &fork) || !errors.Is(err, directory.ErrForked) {
		t.Fatalf("a fork: %v", err)
	}
	return fork
}

func TestForkProves(t *testing.T) {
	s := newSuccession(t)
	fork := aFork(t, s)
	if fork.Kept.Len() != 6 || fork.Refused.Len() != 5 {
		t.Fatalf("kept %d nodes, refused %d", fork.Kept.Len(), fork.Refused.Len())
	}
	good := fork.Encode()
	if len(good) > directory.MaxFork {
		t.Errorf("%d bytes", len(good))
	}
	got, err := directory.ParseFork(good)
	if err != nil || !bytes.Equal(got.Encode(), good) || got.Kept.Serial() != 1 {
		t.Fatalf("read again: %v", err)
	}
	if key := got.Kept.NetworkKey(); key != s.key.Public() {
		t.Errorf("a proof about %x", key)
	}
	other, err := suite.NewSigningKey(stream(8))
	if err != nil {
		t.Fatal(err)
	}
	foreign := *s
	foreign.key = other
	with := func(refused *directory.Network) []byte {
		return (&directory.Fork{Kept: fork.Kept, Refused: verified(t, refused)}).Encode()
	}
	renamed := *s
	renamed.doc.Name = "another"
	for name, tc := range map[string]struct {
		in   []byte
		want error
	}{
		"version":         {append([]byte{2}, good[1:]...), directory.ErrVersion},
		"cut":             {good[:len(good)-1], directory.ErrInvalid},
		"more":            {append(good[:len(good):len(good)], 0), directory.ErrInvalid},
		"empty":           {nil, directory.ErrInvalid},
		"the same":        {with(s.at(1)), directory.ErrInvalid},
		"another serial":  {with(s.at(2)), directory.ErrInvalid},
		"another network": {with(renamed.at(1)), directory.ErrInvalid},
		"another key":     {with(foreign.at(1)), directory.ErrSignature},
	} {
		if _, err := directory.ParseFork(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// FuzzFork: what is read as a proof is one.
func FuzzFork(f *testing.F) {
	d := verified(f, local(f, 5, 5))
	f.Add((&directory.Fork{Kept: d, Refused: d}).Encode())
	f.Add([]byte{directory.Version})
	f.Fuzz(func(t *testing.T, in []byte) {
		fork, err := directory.ParseFork(in)
		if err != nil {
			return
		}
		if !bytes.Equal(fork.Encode(), in) || bytes.Equal(fork.Kept.Signed(), fork.Refused.Signed()) {
			t.Fatal("no proof was taken for one")
		}
	})
}
