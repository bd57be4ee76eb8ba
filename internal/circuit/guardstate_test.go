package circuit

import (
	"bytes"
	"errors"
	"testing"
)

func exampleState(t testing.TB, nodes int) []byte {
	t.Helper()
	d := testDirectory(t, nodes)
	s := sampled(t, d)
	s.list[0].bias = bias{built: share{70, 60}, served: share{41, 40}}
	return encodeGuards(s, drawn(t, d, s.primary(d)))
}

func FuzzGuardState(f *testing.F) {
	f.Add(exampleState(f, 1))
	f.Add(exampleState(f, 30))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, v, err := parseGuards(b)
		if err != nil {
			if !errors.Is(err, ErrGuardState) {
				t.Fatalf("error of another class: %v", err)
			}
			return
		}
		if !bytes.Equal(encodeGuards(s, v), b) {
			t.Fatal("accepted state does not encode alike")
		}
	})
}
