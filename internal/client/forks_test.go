package client

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/directory"
)

// forkOf returns another document of a serial than the one whose nodes doc has.
func forkOf(doc directory.Document, serial uint64, operator string) directory.Document {
	doc.Serial, doc.Issued = serial, doc.Created.Add(time.Duration(serial)*time.Minute)
	doc.Nodes = append([]directory.Node(nil), doc.Nodes...)
	doc.Nodes[0].Operator = operator
	return doc
}

// TestForksAreKept: what proves that the network's key signed twice outlives the
// program, is bounded, can be verified by others, and goes when it is told to.
func TestForksAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 6)
		p := newPerson(t, s)
		ctx := context.Background()
		adopt := func(d directory.Document) error {
			return p.succession.adopt(ctx, s.sign(t, d).Network(), p.now())
		}
		if forks, err := p.Forks(ctx); err != nil || len(forks) != 0 {
			t.Fatalf("%d forks at first (%v)", len(forks), err)
		}
		doc := s.dir.Network().Document
		for serial := uint64(1); serial <= directory.MaxForks+1; serial++ {
			if err := adopt(forkOf(doc, serial, "honest")); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"mallory", "mallet"} {
				if err := adopt(forkOf(doc, serial, name)); !errors.Is(err, directory.ErrForked) {
					t.Fatalf("a fork: %v", err)
				}
			}
		}
		p.restart()
		forks, err := p.Forks(ctx)
		if err != nil || len(forks) != directory.MaxForks {
			t.Fatalf("%d forks after a restart (%v)", len(forks), err)
		}
		for i, f := range forks {
			proof, err := directory.ParseFork(f.Proof)
			if err != nil {
				t.Fatal(err)
			}
			if f.Serial != uint64(i+1) || proof.Kept.NetworkKey() != s.key.Public() || f.Found.IsZero() || f.Kept.Nodes != 6 {
				t.Errorf("fork %d: %+v", i, f)
			}
			if kept, refused := proof.Kept.Nodes()[0].Operator, proof.Refused.Nodes()[0].Operator; kept != "honest" || refused != "mallory" {
				t.Errorf("fork %d: kept %s's, refused %s's", i, kept, refused)
			}
		}
		p.until("the user is told of it again", func() bool { return p.Connection().Text == textForked })
		if err := p.ForgetForks(ctx); err != nil {
			t.Fatal(err)
		}
		p.until("it is forgotten", func() bool { return p.Connection().Text == textOnline })
		if forks, err := p.Forks(ctx); err != nil || len(forks) != 0 {
			t.Errorf("%d forks are left (%v)", len(forks), err)
		}
	})
}

// TestForkedFileIsKept: a file that contradicts the profile's directory is
// refused, and proves something.
func TestForkedFileIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSwarm(t, 6)
		p := newPerson(t, s)
		if err := p.app.Close(); err != nil {
			t.Fatal(err)
		}
		mine := p.cfg.Network
		p.cfg.Network = s.sign(t, forkOf(s.dir.Network().Document, 0, "mallory")).Network()
		app, err := OpenProfile(p.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Unlock(background(t), passphrase); !errors.Is(err, ErrNoNetwork) || !errors.Is(err, directory.ErrForked) {
			t.Fatalf("got %v", err)
		}
		if err := app.Close(); err != nil {
			t.Fatal(err)
		}
		p.cfg.Network = mine
		p.open(func(a *App) error { return a.Unlock(background(t), passphrase) })
		if forks, err := p.Forks(context.Background()); err != nil || len(forks) != 1 {
			t.Errorf("%d forks (%v)", len(forks), err)
		}
	})
}

// FuzzForks reads what the vault keeps: what is no proof is none.
func FuzzForks(f *testing.F) {
	s := newFakeSwarm(f, 6)
	other := s.sign(f, forkOf(s.dir.Network().Document, 0, "mallory"))
	f.Add(encodeForks([]foundFork{{1, &directory.Fork{Kept: s.dir, Refused: other}}, {2, &directory.Fork{Kept: s.dir, Refused: s.dir}}}))
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1}, 8))
	f.Fuzz(func(t *testing.T, in []byte) {
		found := decodeForks(in)
		if len(found) > directory.MaxForks {
			t.Fatalf("%d proofs", len(found))
		}
		if again := decodeForks(encodeForks(found)); len(again) != len(found) {
			t.Fatalf("%d proofs of %d are read again", len(again), len(found))
		}
	})
}
