package store

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Operations of one batch see what those before them in it did, with an index
// and without, as if each had a batch of its own.
func TestOperationsOfABatch(t *testing.T) {
	for name, with := range map[string]*op{
		"by key":     nil,
		"with index": {run: func(*tx) error { return nil }, done: func(error) {}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, vfs.NewMem())
			a := address(1)
			grant(t, s, a, 2*4096)
			one, two, three := envelope(a, 1, 4096, farExpiry), envelope(a, 2, 4096, farExpiry), envelope(a, 3, 4096, farExpiry)
			later := *one
			later.Expiry++
			var got []Stored
			var errs []error
			done := make(chan struct{})
			for _, e := range []*Envelope{one, one, &later, two, three} {
				err := s.PutThen(context.Background(), e, func(st Stored, err error) {
					got, errs = append(got, st), append(errs, err)
					if len(got) == 5 {
						close(done)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if with != nil {
					o := *with
					if err := s.queue(context.Background(), &o); err != nil {
						t.Fatal(err)
					}
				}
			}
			<-done
			for i, fresh := range []bool{true, false, false, true, false} {
				if got[i].Fresh != fresh {
					t.Errorf("put %d: %+v", i, got[i])
				}
			}
			for i, want := range []error{nil, nil, ErrConflict, nil, ErrQuota} {
				if !errors.Is(errs[i], want) {
					t.Errorf("put %d: %v, want %v", i, errs[i], want)
				}
			}
			if items := fetchAll(t, s, a); len(items) != 2 {
				t.Errorf("%d envelopes", len(items))
			}
		})
	}
}

// What was queued when the store closes is on disk or answered by an error, and
// what comes afterwards is refused without an answer.
func TestPutThenAndClose(t *testing.T) {
	s := open(t, vfs.NewMem())
	a := address(1)
	grant(t, s, a, 1<<20)
	answers := make(chan error, 20)
	for i := range cap(answers) {
		if err := s.PutThen(context.Background(), envelope(a, i, 4096, farExpiry), func(_ Stored, err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(answers) != cap(answers) {
		t.Errorf("%d answers before Close ended", len(answers))
	}
	if err := s.PutThen(context.Background(), envelope(a, 99, 4096, farExpiry), func(Stored, error) { t.Error("answered") }); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
