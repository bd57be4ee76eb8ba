package directory_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"sotto/internal/directory"
)

func liveAt(t *testing.T, s *succession, serials ...uint64) *directory.Live {
	t.Helper()
	l := directory.NewLive(verified(t, s.at(serials[0])), func() time.Time { return created })
	for _, serial := range serials[1:] {
		if err := l.Adopt(s.at(serial)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// upTo returns as many serials as a source keeps, ascending to the last.
func upTo(last uint64) []uint64 {
	out := downFrom(last, 1+directory.MaxPast)
	slices.Reverse(out)
	return out
}

func TestAskingGetsWhatItLacks(t *testing.T) {
	s := newSuccession(t)
	for name, tc := range map[string]struct {
		asker, asked []uint64
		want         []uint64
	}{
		"same":            {[]uint64{2}, []uint64{2}, nil},
		"behind":          {[]uint64{2}, []uint64{2, 3}, []uint64{3}},
		"far behind":      {[]uint64{2}, []uint64{2, 3, 5, 9}, []uint64{3, 5, 9}},
		"joined late":     {[]uint64{9}, []uint64{5, 6, 9}, []uint64{5, 6}},
		"ahead":           {[]uint64{9}, []uint64{6}, []uint64{6}},
		"full of newer":   {upTo(29), []uint64{3, 4}, nil},
		"full, one newer": {append([]uint64{4}, upTo(29)[1:]...), []uint64{3, 13, 29}, []uint64{13}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := directory.AskingOf(liveAt(t, s, tc.asker...))
			again, err := directory.ParseAsking(asked.Encode())
			if err != nil {
				t.Fatal(err)
			}
			got := serials(again.Lacks(liveAt(t, s, tc.asked...)))
			if len(got) != len(tc.want) {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			for i := range got {
				if got[i] != tc.want[i] {
					t.Fatalf("got %v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestAhead: who is asked asks back when there is something to have.
func TestAhead(t *testing.T) {
	s := newSuccession(t)
	for name, tc := range map[string]struct {
		asker, asked []uint64
		want         bool
	}{
		"same":               {[]uint64{2, 3}, []uint64{2, 3}, false},
		"behind":             {[]uint64{2}, []uint64{2, 3}, false},
		"newer":              {[]uint64{2, 3}, []uint64{2}, true},
		"knows a past one":   {[]uint64{5, 6, 9}, []uint64{9}, true},
		"knows an older one": {[]uint64{4, 5, 6, 9}, []uint64{5, 6, 9}, true},
		"older than all":     {[]uint64{3, 29}, upTo(29), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := directory.AskingOf(liveAt(t, s, tc.asker...)).Ahead(liveAt(t, s, tc.asked...)); got != tc.want {
				t.Errorf("ahead: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseAskingRefuses(t *testing.T) {
	good := directory.Asking{Serial: 9, Past: []uint64{7, 5}}.Encode()
	for name, tc := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":        {nil, directory.ErrInvalid},
		"version":      {append([]byte{2}, good[1:]...), directory.ErrVersion},
		"cut":          {good[:len(good)-1], directory.ErrInvalid},
		"longer":       {append(bytes.Clone(good), 0), directory.ErrInvalid},
		"out of order": {directory.Asking{Serial: 9, Past: []uint64{5, 7}}.Encode(), directory.ErrInvalid},
		"too many":     {directory.Asking{Serial: 29, Past: downFrom(28, directory.MaxPast+1)}.Encode(), directory.ErrInvalid},
	} {
		if _, err := directory.ParseAsking(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// A question has one encoding.
func FuzzAsking(f *testing.F) {
	f.Add(directory.Asking{Serial: 3}.Encode())
	f.Add(directory.Asking{Serial: 9, Past: []uint64{8, 7, 6, 5}}.Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		a, err := directory.ParseAsking(in)
		if err == nil && !bytes.Equal(a.Encode(), in) {
			t.Fatal("accepted another encoding")
		}
	})
}
